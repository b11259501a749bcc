#!/usr/bin/env bash
# Builds llama.cpp's server and prints its path, for the tests of the upstream adapter:
#   infra/upstreams/llama-server.sh [FOLDER]
# FOLDER (default .cache/llama-server) is looked at first. The source is the git bundle inside npm's
# node-llama-cpp, so that nothing but the registry is needed. About 10 minutes with two jobs; JOBS=n.
set -euo pipefail

version=3.22.1 # llama.cpp v0.5.0
folder=${1:-$(dirname "$0")/../../.cache/llama-server}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
program=$folder/$version/llama-server
answer_if_built() {
  if [ -x "$program" ]; then
    echo "$program"
    exit
  fi
}
answer_if_built
# Several may ask at once; one builds.
exec 9>"$folder/lock"
flock 9
answer_if_built
for tool in cmake g++ make git npm; do
  if ! command -v "$tool" >/dev/null; then
    echo "$tool is missing. On Debian: apt-get install --no-install-recommends cmake g++ make git" >&2
    exit 3
  fi
done

work=$folder/build-$version
log=$work/build.log
# What an earlier run compiled is kept: cmake goes on from there.
mkdir -p "$work" "$folder/$version"
quietly() { "$@" >>"$log" 2>&1 || { tail -n 20 "$log" >&2; echo "see $log" >&2; return 1; }; }
if [ ! -d "$work/source" ]; then
  echo "downloading llama.cpp's source" >&2
  (cd "$work" && quietly npm pack --silent "node-llama-cpp@$version")
  tar -xzf "$work/node-llama-cpp-$version.tgz" -C "$work" package/llama/gitRelease.bundle
  rm -rf "$work/clone"
  quietly git clone -c advice.detachedHead=false "$work/package/llama/gitRelease.bundle" "$work/clone"
  mv "$work/clone" "$work/source"
fi
echo "building llama-server, once" >&2
# For any x86-64 with AVX2 and not this very machine, as caches travel. Little optimization: half the
# time to build, and the demo model is small.
quietly cmake -S "$work/source" -B "$work/cmake" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_C_FLAGS_RELEASE='-O2 -DNDEBUG' -DCMAKE_CXX_FLAGS_RELEASE='-O1 -DNDEBUG' \
  -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DGGML_LLAMAFILE=OFF \
  -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_TESTS=OFF \
  -DLLAMA_BUILD_EXAMPLES=OFF
quietly nice -n 10 cmake --build "$work/cmake" --target llama-server --parallel "${JOBS:-2}"
cp "$work/cmake/bin/llama-server" "$program.new" && mv "$program.new" "$program"
rm -rf "$work"
echo "$program"
