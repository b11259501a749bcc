export const DEPLOY_HELP = `gemlet deploy <platform> [options]

Runs the platform's own command line with the files of infra/, or, with
--dry-run, prints what would be run as a shell script and touches nothing.

  docker        builds an image (--image; --push; --gpu cuda in a checkout)
  cloudrun      Google Cloud Run with gcloud or --tool terraform
                (--project, --region, --image, --model)
  runpod        a load-balancing endpoint, with RUNPOD_API_KEY; the one of this
                name is changed if there is one (--image, --model)
  modal         a Modal Server (--image, --model)
  aws           the gateway on Lambda (--region, --bucket, and --replica or
                --upstream)
  cloudflare    the gateway as a Worker, with wrangler, which needs Node.js 22.12
                (--replica)

      --dry-run            print it, run nothing
      --name <name>        of the service (default: gemlet)
      --image <reference>  the container image to build or to run
      --model <where>      s3://bucket/prefix, an https URL, or hf:org/name
      --gpu <type>         none (default); l4 or rtx-pro-6000 on Cloud Run; a pool
                           such as ADA_24 on RunPod; L4 and others on Modal. CUDA
                           is not measured: gemlet computes on the CPU so far
      --slots <count>      answers computed at the same time by one replica
                           (default: 4)
      --max <count>        most replicas (default: 3)
      --cpu <count>, --memory <size>   on Cloud Run (default: 8 and 32Gi; with an
                           RTX PRO 6000 20 and 80Gi)
      --kv-store <where>   s3://bucket/prefix where conversations outlive replicas
      --s3-endpoint <url>  on Cloud Run and RunPod, for stores that are not AWS's
                           (default on Cloud Run: Cloud Storage)
      --s3-region <name>   on RunPod: of the bucket, needed where it is AWS's
      --fleet              replicas take requests of a gateway, too
      --public             on Cloud Run: callers need no Google identity
      --project, --region, --bucket   where it goes
      --replica <url>      on aws and cloudflare; may be given several times
      --affinity <kind>, --bundle <where>, --model-id <id>, --context <tokens>
                           on aws and cloudflare, as of gemlet gateway; --bundle is a
                           folder of the bucket on cloudflare
      --replica-header-secret <name>   on aws: holds "name: value" for the replicas
      --upstream <url>, --upstream-kind <kind>, --upstream-model <id>,
      --upstream-key-secret <name>   on aws: another server instead of replicas
      --concurrency <n>, --timeout <s>   on aws: most requests at once (default: the
                           account's), longest answer (default: 900), which is paid
                           for to its end when its client leaves
      --secret <name>      on modal: the secret that holds keys (default: gemlet)
      --push               on docker: push the image after building it
      --tool <name>        on cloudrun: gcloud (default) or terraform`;
