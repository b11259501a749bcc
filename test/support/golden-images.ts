import { readFileSync } from 'node:fs';

/** What Pillow makes of one of the pictures in test/golden/images. */
export interface GoldenImage {
  /** Width and height in the file, before turning upright. */
  readonly stored: readonly [number, number];
  readonly width: number;
  readonly height: number;
  /** Of the RGB bytes. */
  readonly sha256: string;
  /** The first 24 RGB bytes. */
  readonly first: readonly number[];
  /** All RGB bytes in hex, where equality is not expected. */
  readonly rgb?: string;
}

const FOLDER = new URL('../golden/images/', import.meta.url);

export function readGoldenJson(name: string): unknown {
  return JSON.parse(readFileSync(new URL(name, FOLDER), 'utf8'));
}

export const GOLDEN_IMAGES: Readonly<Record<string, GoldenImage>> = (
  readGoldenJson('images.json') as { readonly images: Record<string, GoldenImage> }
).images;

export function readImageFile(name: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(new URL(name, FOLDER)));
}

/** Bytes of the fixtures' rule, which Pillow got as well: (i * 2654435761 >> 7) % 256. */
export function patternBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i += 1) bytes[i] = Math.floor((i * 2654435761) / 128) % 256;
  return bytes;
}
