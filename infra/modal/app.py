"""gemlet as a Modal Server: our container, its port, its drain.

    GEMLET_IMAGE=... GEMLET_MODEL=s3://bucket/gemma modal deploy infra/modal/app.py

Requests with one Modal-Session-ID header mostly reach one container; the gateway sends it.
CUDA is not measured, and gemlet computes on the CPU so far.
"""

import os
import subprocess
import time
import urllib.error
import urllib.request

import modal

PORT = 8787
DRAIN_SECONDS = 8
START_SECONDS = 600


def setting(name: str, default: str) -> str:
    return os.environ.get(name) or default


NAME = setting("GEMLET_APP", "gemlet")
IMAGE = setting("GEMLET_IMAGE", "")
MODEL = setting("GEMLET_MODEL", "")
SLOTS = setting("GEMLET_SLOTS", "4")
GPU = setting("GEMLET_GPU", "none")
MAX = setting("GEMLET_MAX", "3")
REGION = setting("GEMLET_REGION", "us-east")
SECRET = setting("GEMLET_SECRET", "gemlet")
KV_STORE = setting("GEMLET_KV_STORE", "")

if modal.is_local() and not (IMAGE and MODEL):
    raise SystemExit("Set GEMLET_IMAGE and GEMLET_MODEL, or run: gemlet deploy modal")

app = modal.App(NAME)


@app.server(
    # The image's own user may not install Modal's Python, and its command is not Modal's.
    image=modal.Image.from_registry(
        IMAGE, setup_dockerfile_commands=["USER root"], add_python="3.12"
    ).entrypoint([]),
    gpu=None if GPU == "none" else GPU,
    cpu=8.0,
    memory=32768,
    port=PORT,
    # From here on Modal starts another container; requests beyond it wait in this one's queue.
    target_concurrency=float(SLOTS),
    min_containers=0,
    max_containers=int(MAX),
    scaledown_window=60,
    startup_timeout=START_SECONDS,
    exit_grace_period=DRAIN_SECONDS + 2,
    routing_region=REGION,
    # GEMLET_API_KEY, GEMLET_FLEET_KEY behind a gateway, and AWS_* for s3://.
    secrets=[modal.Secret.from_name(SECRET)],
    # The file is read again in the container, and must say the same there.
    env={
        "GEMLET_APP": NAME,
        "GEMLET_IMAGE": IMAGE,
        "GEMLET_GPU": GPU,
        "GEMLET_MAX": MAX,
        "GEMLET_REGION": REGION,
        "GEMLET_SECRET": SECRET,
        "GEMLET_MODEL": MODEL,
        "GEMLET_SLOTS": SLOTS,
        "GEMLET_KV_STORE": KV_STORE,
        "GEMLET_HOST": "0.0.0.0",
        "GEMLET_PORT": str(PORT),
        "GEMLET_DRAIN_TIMEOUT": str(DRAIN_SECONDS),
    },
)
class Gemlet:
    @modal.enter()
    def start(self) -> None:
        """Returns when the model is loaded; a server that ends before that fails the start."""
        self.process = subprocess.Popen(["node", "/app/dist/adapters/cli/main.js", "serve"])
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"gemlet ended with {self.process.returncode} while starting")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health/ready", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.25)
        self.process.kill()
        raise TimeoutError(f"gemlet was not ready within {START_SECONDS} s")

    @modal.exit()
    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=DRAIN_SECONDS + 2)
        except subprocess.TimeoutExpired:
            self.process.kill()
