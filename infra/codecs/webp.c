/* What src/image/webp/webp-codec.ts calls: libwebp's decoder without animation, and its memory. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include "src/webp/decode.h"

#define EXPORT(name) __attribute__((export_name(name)))

/* Room for the file; 0 when there is none. */
EXPORT("allocate") void* allocate(size_t size) { return malloc(size); }

/* The pixels of a still WebP, RGBA by rows from the top, and its width and height; 0 when it is damaged. */
EXPORT("decode") uint8_t* decode(const uint8_t* file, size_t size, int32_t* width_and_height) {
  return WebPDecodeRGBA(file, size, &width_and_height[0], &width_and_height[1]);
}

/* Such as 0x010600. */
EXPORT("version") int version(void) { return WebPGetDecoderVersion(); }
