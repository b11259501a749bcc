import { crc32, deflateSync } from 'node:zlib';

const SIGNATURE = Buffer.from('89504e470d0a1a0a', 'hex');
/** Eight bits a channel, RGB; deflate, filters by row, not interlaced. */
const RGB8 = [8, 2, 0, 0, 0] as const;

/**
 * A PNG of a square picture, packed little: it goes to a server near by.
 * @param rgb [side, side, 3]
 */
export function encodePng(rgb: Uint8Array, side: number): Uint8Array {
  const rowBytes = 3 * side;
  const rows = new Uint8Array(side * (rowBytes + 1));
  for (let y = 0; y < side; y++) {
    // The byte before each row names its filter: none.
    rows.set(rgb.subarray(y * rowBytes, (y + 1) * rowBytes), y * (rowBytes + 1) + 1);
  }
  const head = Buffer.alloc(13);
  head.writeUInt32BE(side, 0);
  head.writeUInt32BE(side, 4);
  head.set(RGB8, 8);
  const packed = deflateSync(rows, { level: 1 });
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', head),
    chunk('IDAT', packed),
    chunk('IEND', new Uint8Array(0)),
  ]);
}

function chunk(name: string, content: Uint8Array): Uint8Array {
  const body = Buffer.concat([Buffer.from(name, 'latin1'), content]);
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE(content.length, 0);
  frame.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
}
