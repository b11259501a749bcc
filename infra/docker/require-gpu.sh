#!/bin/sh
# Ends at once where the image for GPUs runs without one: a slow answer would hide the mistake.
# The shell becomes the server, so that signals reach it.
device=${NVIDIA_DEVICE:-/dev/nvidiactl}
if [ ! -e "$device" ]; then
  echo "gemlet: there is no $device: start the container with a GPU, or use the image of infra/docker/Dockerfile." >&2
  exit 1
fi
exec node "${GEMLET_MAIN:-/app/dist/adapters/cli/main.js}" "$@"
