/** A picture of many scans, or of one, each with as few bits a block as there can be. */
export interface ScanPicture {
  readonly width: number;
  readonly height: number;
  /** 1 is gray, 3 is colour, 4 is CMYK. */
  readonly components: 1 | 3 | 4;
  /** 1 is a baseline JPEG, more a progressive one. */
  readonly scans: number;
}

/** Blocks that one code of the progressive scans covers: a run of 2^14 and 14 bits of ones. */
const RUN_BLOCKS = 32_767;

/**
 * A JPEG that costs a decoder much and its sender little: a bit or so a block in the first scan, and then
 * scans of a coefficient each that hold next to nothing, though a decoder walks the whole picture.
 */
export function jpegOfScans({ width, height, components, scans }: ScanPicture): Uint8Array {
  const ids = Array.from({ length: components }, (_, index) => index + 1);
  const blocks = Math.ceil(width / 8) * Math.ceil(height / 8);
  const isProgressive = scans > 1;
  const parts = [
    Uint8Array.of(0xff, 0xd8),
    segment(0xdb, [0, ...Array.from({ length: 64 }, () => 1)]),
    segment(isProgressive ? 0xc2 : 0xc0, [
      8,
      ...word(height),
      ...word(width),
      components,
      ...ids.flatMap((id) => [id, 0x11, 0]),
    ]),
    // One code of one bit: no difference; and for AC coefficients the end of the block, or a long run.
    segment(0xc4, [0x00, 1, ...zeros(15), 0]),
    segment(0xc4, [0x10, 1, ...zeros(15), isProgressive ? 0xe0 : 0]),
    scan(ids, 0, isProgressive ? 0 : 63, zeroBits(blocks * components * (isProgressive ? 1 : 2))),
  ];
  // Each code of a run is 0, then 14 ones.
  const runs = Math.ceil(blocks / RUN_BLOCKS);
  const data = bits(Array.from({ length: runs }, () => `0${'1'.repeat(14)}`).join(''));
  for (let index = 0; index < scans - 1; index++) {
    const band = 1 + (Math.floor(index / components) % 63);
    parts.push(scan([ids[index % components] ?? 1], band, band, data));
  }
  parts.push(Uint8Array.of(0xff, 0xd9));
  return Buffer.concat(parts);
}

function scan(ids: readonly number[], from: number, to: number, data: Uint8Array): Uint8Array {
  const head = [ids.length, ...ids.flatMap((id) => [id, 0]), from, to, 0];
  return Buffer.concat([segment(0xda, head), data]);
}

function segment(marker: number, content: readonly number[]): Uint8Array {
  return Uint8Array.from([0xff, marker, ...word(content.length + 2), ...content]);
}

function word(value: number): [number, number] {
  return [value >> 8, value & 0xff];
}

function zeros(count: number): number[] {
  return Array.from({ length: count }, () => 0);
}

function zeroBits(count: number): Uint8Array {
  return new Uint8Array(Math.ceil(count / 8));
}

/** Entropy-coded data: ones fill the last byte, and a zero follows each byte of ones. */
function bits(text: string): Uint8Array {
  const padded = text.padEnd(Math.ceil(text.length / 8) * 8, '1');
  const bytes: number[] = [];
  for (let at = 0; at < padded.length; at += 8) {
    const byte = Number.parseInt(padded.slice(at, at + 8), 2);
    bytes.push(byte, ...(byte === 0xff ? [0] : []));
  }
  return Uint8Array.from(bytes);
}
