import type { RgbImage } from './decode.ts';
import { invalidImage } from './image-error.ts';

/** The first frame of a GIF, found but not yet decoded. */
export interface GifHeader {
  /** Of the canvas, widened where the frame reaches beyond it, as PIL does. */
  readonly width: number;
  readonly height: number;
  readonly frame: {
    readonly x: number;
    readonly y: number;
    readonly width: number;
    readonly height: number;
  };
  readonly isInterlaced: boolean;
  /** [256, 3], RGB; entries the file does not give are a gray ramp, as in PIL. */
  readonly palette: Uint8Array;
  /** Palette index of the canvas around the frame. */
  readonly background: number;
  /** Bits of one colour index. */
  readonly colorBits: number;
  /** Index of the first sub-block of compressed pixels. */
  readonly dataStart: number;
}

const BLOCK = { extension: 0x21, image: 0x2c, trailer: 0x3b } as const;
const GRAPHIC_CONTROL = 0xf9;
/** Codes never grow beyond 12 bits. GIF89a, appendix F. */
const MAX_CODES = 4096;
/** Rows come in four passes: [first row, step]. GIF89a, appendix E. */
const PASSES = [
  [0, 8],
  [4, 8],
  [2, 4],
  [1, 2],
] as const;

/**
 * Reads a GIF up to its first frame.
 * @throws ServeError invalid_image when the file is cut off or damaged before it
 */
export function readGifHeader(bytes: Uint8Array): GifHeader {
  const canvasWidth = word(bytes, 6);
  const canvasHeight = word(bytes, 8);
  const palette = new Uint8Array(256 * 3);
  for (let index = 0; index < 256; index += 1) palette.fill(index, index * 3, index * 3 + 3);
  let at = 13 + readPalette(bytes, 10, 13, palette);
  let background = 0;
  for (;;) {
    const block = byte(bytes, at);
    if (block === BLOCK.trailer) throw invalidImage('the GIF has no frame.');
    if (block === BLOCK.image) break;
    if (block !== BLOCK.extension) throw invalidImage('the GIF is damaged before its first frame.');
    if (byte(bytes, at + 1) === GRAPHIC_CONTROL && byte(bytes, at + 2) >= 4) {
      const hasTransparency = (byte(bytes, at + 3) & 1) === 1;
      background = hasTransparency ? byte(bytes, at + 6) : 0;
    }
    at = skipSubBlocks(bytes, at + 2);
  }
  const frame = {
    x: word(bytes, at + 1),
    y: word(bytes, at + 3),
    width: word(bytes, at + 5),
    height: word(bytes, at + 7),
  };
  if (frame.width === 0 || frame.height === 0) throw invalidImage('its GIF frame has no pixels.');
  const flags = byte(bytes, at + 9);
  at += 10 + readPalette(bytes, at + 9, at + 10, palette);
  const colorBits = byte(bytes, at);
  if (colorBits < 1 || colorBits > 8) throw invalidImage('the GIF has an impossible code size.');
  return {
    width: Math.max(canvasWidth, frame.x + frame.width),
    height: Math.max(canvasHeight, frame.y + frame.height),
    frame,
    isInterlaced: (flags & 0x40) !== 0,
    palette,
    background,
    colorBits,
    dataStart: at + 1,
  };
}

/**
 * Decodes the first frame onto its canvas.
 * @throws ServeError invalid_image when the compressed pixels end early or make no sense
 */
export function decodeGif(bytes: Uint8Array, header: GifHeader): RgbImage {
  const { width, height, frame, palette } = header;
  const canvas = new Uint8Array(width * height).fill(header.background);
  const indices = unpack(bytes, header);
  let row = 0;
  for (const [first, step] of header.isInterlaced ? PASSES : [[0, 1] as const]) {
    for (let y = first; y < frame.height; y += step) {
      const from = row * frame.width;
      canvas.set(indices.subarray(from, from + frame.width), (frame.y + y) * width + frame.x);
      row += 1;
    }
  }
  const data = new Uint8Array(canvas.length * 3);
  for (let i = 0; i < canvas.length; i += 1) {
    const color = (canvas[i] as number) * 3;
    data[i * 3] = palette[color] as number;
    data[i * 3 + 1] = palette[color + 1] as number;
    data[i * 3 + 2] = palette[color + 2] as number;
  }
  return { width, height, data };
}

/** LZW with GIF's growing codes. @returns [frame.height, frame.width], colour indices as stored */
function unpack(bytes: Uint8Array, header: GifHeader): Uint8Array {
  const output = new Uint8Array(header.frame.width * header.frame.height);
  const clear = 1 << header.colorBits;
  // A code above `clear + 1` is a string: that of `prefix`, then `suffix`.
  const prefix = new Uint16Array(MAX_CODES);
  const suffix = new Uint8Array(MAX_CODES);
  const length = new Uint16Array(MAX_CODES).fill(1, 0, clear);
  for (let code = 0; code < clear; code += 1) suffix[code] = code;
  let codeBits = header.colorBits + 1;
  let next = clear + 2;
  let previous = -1;
  let pending = 0;
  let pendingBits = 0;
  let at = header.dataStart;
  let blockEnd = at;
  let filled = 0;
  while (filled < output.length) {
    while (pendingBits < codeBits) {
      if (at === blockEnd) {
        const size = byte(bytes, at);
        if (size === 0) throw tooFewPixels();
        at += 1;
        blockEnd = at + size;
      }
      pending |= byte(bytes, at) << pendingBits;
      pendingBits += 8;
      at += 1;
    }
    const code = pending & ((1 << codeBits) - 1);
    pending >>>= codeBits;
    pendingBits -= codeBits;
    if (code === clear) {
      codeBits = header.colorBits + 1;
      next = clear + 2;
      previous = -1;
      continue;
    }
    if (code === clear + 1) throw tooFewPixels();
    // `next` itself is allowed: the string about to be made, the previous one plus its own start.
    const isNew = code === next && previous >= 0;
    if (code > next || (code === next && !isNew)) {
      throw invalidImage('the compressed pixels of the GIF are damaged.');
    }
    const known = isNew ? previous : code;
    const knownLength = length[known] as number;
    let first = known;
    for (let i = filled + knownLength - 1; i >= filled; i -= 1) {
      if (i < output.length) output[i] = suffix[first] as number;
      if (i > filled) first = prefix[first] as number;
    }
    const start = suffix[first] as number;
    filled += knownLength;
    if (isNew) {
      if (filled < output.length) output[filled] = start;
      filled += 1;
    }
    if (previous >= 0 && next < MAX_CODES) {
      prefix[next] = previous;
      suffix[next] = start;
      length[next] = (length[previous] as number) + 1;
      next += 1;
      if (next === 1 << codeBits && codeBits < 12) codeBits += 1;
    }
    previous = code;
  }
  return output;
}

/** Reads the colours that `flags` announce. @returns their size in bytes */
function readPalette(
  bytes: Uint8Array,
  flagsAt: number,
  start: number,
  palette: Uint8Array,
): number {
  const flags = byte(bytes, flagsAt);
  if ((flags & 0x80) === 0) return 0;
  const size = 3 << ((flags & 7) + 1);
  if (start + size > bytes.length) throw cutOff();
  for (let index = 0; index < 256; index += 1) palette.fill(index, index * 3, index * 3 + 3);
  palette.set(bytes.subarray(start, start + size));
  return size;
}

/** @returns the index after the block terminator */
function skipSubBlocks(bytes: Uint8Array, from: number): number {
  let at = from;
  for (;;) {
    const size = byte(bytes, at);
    at += 1 + size;
    if (size === 0) return at;
  }
}

function byte(bytes: Uint8Array, at: number): number {
  const value = bytes[at];
  if (value === undefined) throw cutOff();
  return value;
}

function word(bytes: Uint8Array, at: number): number {
  return byte(bytes, at) | (byte(bytes, at + 1) << 8);
}

function cutOff(): Error {
  return invalidImage('the GIF file is cut off.');
}

function tooFewPixels(): Error {
  return invalidImage('the GIF ends before its first frame is complete.');
}
