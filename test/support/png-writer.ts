import { crc32, deflateSync } from 'node:zlib';

/** PNG colour types by name. */
export const PNG_COLOR = { gray: 0, rgb: 2, palette: 3, grayAlpha: 4, rgba: 6 } as const;

export interface PngHead {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly color: number;
  readonly interlace?: number;
}

/** A PNG of rows that already carry their filter byte; `compressed` replaces their compression. */
export function writePng(
  head: PngHead,
  rows: Uint8Array,
  options: { readonly palette?: Uint8Array; readonly compressed?: Uint8Array } = {},
): Uint8Array<ArrayBuffer> {
  const ihdr = Buffer.alloc(13);
  ihdr.writeUInt32BE(head.width, 0);
  ihdr.writeUInt32BE(head.height, 4);
  ihdr.set([head.depth, head.color, 0, 0, head.interlace ?? 0], 8);
  return new Uint8Array(
    Buffer.concat([
      Buffer.from('89504e470d0a1a0a', 'hex'),
      pngChunk('IHDR', ihdr),
      ...(options.palette === undefined ? [] : [pngChunk('PLTE', options.palette)]),
      pngChunk('IDAT', options.compressed ?? deflateSync(rows)),
      pngChunk('IEND', new Uint8Array()),
    ]),
  );
}

function pngChunk(type: string, content: Uint8Array): Buffer {
  const chunk = Buffer.alloc(12 + content.length);
  chunk.writeUInt32BE(content.length, 0);
  chunk.write(type, 4, 'latin1');
  chunk.set(content, 8);
  chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + content.length)), 8 + content.length);
  return chunk;
}
