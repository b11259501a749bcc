# The same service as service.yaml, for Terraform.
terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.40"
    }
  }
}

variable "project" { type = string }
variable "region" { type = string }
variable "image" { type = string }

variable "model" {
  type        = string
  description = "Where the weights are: s3://bucket/prefix, an https URL, or hf:org/name."
}

variable "name" {
  type    = string
  default = "gemlet"
}

variable "gpu" {
  type        = string
  default     = "none"
  description = "none, l4 or rtx-pro-6000. CUDA is not measured; gemlet computes on the CPU so far."
  validation {
    condition     = contains(["none", "l4", "rtx-pro-6000"], var.gpu)
    error_message = "gpu must be none, l4 or rtx-pro-6000."
  }
}

variable "slots" {
  type        = number
  default     = 4
  description = "Answers computed at the same time by one instance."
}

variable "max" {
  type        = number
  default     = 3
  description = "Most instances."
}

variable "fleet" {
  type        = bool
  default     = false
  description = "A replica behind a gateway: GEMLET_FLEET_KEY too."
}

variable "kv_store" {
  type        = string
  default     = ""
  description = "s3://bucket/prefix where conversations outlive instances."
}

variable "s3_endpoint" {
  type    = string
  default = "https://storage.googleapis.com"
}

variable "public" {
  type        = bool
  default     = false
  description = "Let in callers without a Google identity; the key is asked for all the same."
}

locals {
  # Cloud Run's own minima: 4 CPU and 16Gi beside an L4, 20 CPU and 80Gi beside an RTX PRO 6000.
  shapes = {
    "none"         = { accelerator = "", cpu = "8", memory = "32Gi" }
    "l4"           = { accelerator = "nvidia-l4", cpu = "8", memory = "32Gi" }
    "rtx-pro-6000" = { accelerator = "nvidia-rtx-pro-6000", cpu = "20", memory = "80Gi" }
  }
  shape = local.shapes[var.gpu]
  gpus  = var.gpu == "none" ? [] : [local.shape.accelerator]
  queue = var.slots * 3

  uses_s3 = startswith(var.model, "s3://") || startswith(var.kv_store, "s3://")
  values = merge(
    {
      GEMLET_MODEL         = var.model
      GEMLET_SLOTS         = tostring(var.slots)
      GEMLET_QUEUE         = tostring(local.queue)
      GEMLET_DRAIN_TIMEOUT = "8"
    },
    var.kv_store == "" ? {} : { GEMLET_KV_STORE = var.kv_store },
    local.uses_s3 ? { AWS_ENDPOINT_URL_S3 = var.s3_endpoint, AWS_REGION = "auto" } : {},
  )
  secrets = merge(
    { GEMLET_API_KEY = "gemlet-api-key" },
    var.fleet ? { GEMLET_FLEET_KEY = "gemlet-fleet-key" } : {},
    local.uses_s3 ? { AWS_ACCESS_KEY_ID = "gemlet-s3-key-id", AWS_SECRET_ACCESS_KEY = "gemlet-s3-key" } : {},
  )
}

provider "google" {
  project = var.project
  region  = var.region
}

resource "google_cloud_run_v2_service" "gemlet" {
  name                = var.name
  location            = var.region
  deletion_protection = false
  ingress             = "INGRESS_TRAFFIC_ALL"

  template {
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    session_affinity                 = true
    gpu_zonal_redundancy_disabled    = var.gpu != "none"
    max_instance_request_concurrency = var.slots + local.queue
    timeout                          = "900s"

    scaling {
      min_instance_count = 0
      max_instance_count = var.max
    }

    dynamic "node_selector" {
      for_each = local.gpus
      content {
        accelerator = node_selector.value
      }
    }

    containers {
      image = var.image
      args  = ["serve"]

      ports {
        name           = "http1"
        container_port = 8787
      }

      dynamic "env" {
        for_each = local.values
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = local.secrets
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value
              version = "latest"
            }
          }
        }
      }

      resources {
        # Weights load and conversations are written between requests too.
        cpu_idle          = false
        startup_cpu_boost = var.gpu == "none"
        limits = merge(
          { cpu = local.shape.cpu, memory = local.shape.memory },
          var.gpu == "none" ? {} : { "nvidia.com/gpu" = "1" },
        )
      }

      startup_probe {
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 24
        http_get {
          path = "/health/ready"
          port = 8787
        }
      }

      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 10
        failure_threshold = 3
        http_get {
          path = "/health/live"
          port = 8787
        }
      }
    }
  }
}

resource "google_cloud_run_v2_service_iam_member" "public" {
  count    = var.public ? 1 : 0
  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.gemlet.name
  role     = "roles/run.invoker"
  member   = "allUsers"
}

output "url" {
  value = google_cloud_run_v2_service.gemlet.uri
}
