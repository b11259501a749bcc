#!/usr/bin/env bash
# Builds src/image/webp/webp-decoder.wasm from libwebp, and fails unless it comes out byte for byte as it was.
# On Debian 12: apt-get install git clang lld wasi-libc libclang-rt-dev-wasm32. To take another version
# change the four values below; LIBWEBP_REPOSITORY names another place of the source.
set -euo pipefail
cd "$(dirname "$0")/../.."

VERSION=v1.6.0
COMMIT=4fa21912338357f89e4fd51cf2368325b59e9bd9
# Of the list of the SHA-256 of every .c and .h below src/.
SOURCE_SHA256=237b7a32c07a66b723e5b362f736022e385c1f1d79a2e6fd79bd8c3147b0bf8f
WASM_SHA256=9dc8db873681614da839e12ee0b97da7302327bffdc3433136c7ad4c9120fc2b
REPOSITORY=${LIBWEBP_REPOSITORY:-https://github.com/webmproject/libwebp}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
git -c advice.detachedHead=false clone --quiet --depth 1 --branch "$VERSION" "$REPOSITORY" "$folder/libwebp"
here=$PWD
cd "$folder/libwebp"
test "$(git rev-parse HEAD)" = "$COMMIT" || { echo "$VERSION is not the commit $COMMIT" >&2; exit 1; }
sources=$(find src -name '*.[ch]' -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1)
test "$sources" = "$SOURCE_SHA256" || { echo "the source's SHA-256 is $sources" >&2; exit 1; }

# What libwebp's own Makefiles name for libwebpdecoder; code for other processors is left out.
files=(src/dec/*.c src/utils/palette.c src/utils/utils.c)
for name in alpha_processing cpu dec dec_clip_tables filters lossless rescaler upsampling yuv; do
  files+=("src/dsp/$name.c")
done
for name in bit_reader color_cache filters huffman quant_levels_dec random rescaler thread; do
  files+=("src/utils/${name}_utils.c")
done
# The stack lies below all data, so that one too deep traps; memory ends at 1 GB.
clang --target=wasm32-wasi -O2 -DNDEBUG -I. -ffunction-sections -fdata-sections -nostartfiles \
  -Wl,--no-entry,--gc-sections,--strip-all,--stack-first,-z,stack-size=262144,--max-memory=1073741824 \
  "$here/infra/codecs/webp.c" "${files[@]}" -o "$folder/webp-decoder.wasm"

cd "$here"
chmod 644 "$folder/webp-decoder.wasm"
built=$(sha256sum "$folder/webp-decoder.wasm" | cut -d' ' -f1)
cp "$folder/webp-decoder.wasm" src/image/webp/webp-decoder.wasm
test "$built" = "$WASM_SHA256" || { echo "the SHA-256 of webp-decoder.wasm is $built" >&2; exit 1; }
echo "src/image/webp/webp-decoder.wasm: $(wc -c <src/image/webp/webp-decoder.wasm) bytes"
