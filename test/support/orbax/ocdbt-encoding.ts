import { crc32c } from '../../../src/flax/crc32c.ts';
import { zstd } from '../zstd-frame.ts';

/** The parts of an OCDBT database as bytes, to the byte as TensorStore writes them. */

export interface Entry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** null: in its node. */
  readonly place: { readonly file: string; readonly offset: number } | null;
}

/** Where a node was put, and what its parent needs to know. */
export interface WrittenNode {
  readonly firstKey: Uint8Array;
  readonly lastKey: Uint8Array;
  readonly offset: number;
  readonly length: number;
  readonly keyCount: number;
  /** Of it and all nodes below. */
  readonly treeBytes: number;
  /** Of values outside of nodes. */
  readonly valueBytes: number;
  readonly prefixBytes: number;
}

/** null: of a version without keys. */
export type Root = (WrittenNode & { readonly height: number }) | null;

export interface DatabaseIdentity {
  readonly id: Uint8Array;
  /** Of each version, 8 bytes. */
  readonly commitTimes: readonly Uint8Array[];
  readonly maxNodeBytes: number;
}

export const IDENTITY: DatabaseIdentity = {
  id: new Uint8Array(16).fill(7),
  commitTimes: [],
  maxNodeBytes: 8 << 20,
};

export function leafBody(part: readonly Entry[], prefixBytes: number): ByteWriter {
  const outside = part.flatMap(({ place }) => (place === null ? [] : [place]));
  const files = [...new Set(outside.map(({ file }) => file))].toSorted();
  const body = createByteWriter();
  body.u8(0);
  writeFiles(
    body,
    files.map((path) => ({ path, baseBytes: 0 })),
  );
  body.varint(part.length);
  writeKeys(
    body,
    part.map(({ key }) => key.subarray(prefixBytes)),
    null,
  );
  for (const { value } of part) body.varint(value.length);
  for (const { place } of part) body.varint(place === null ? 0 : 1);
  for (const { file } of outside) body.varint(files.indexOf(file));
  for (const { offset } of outside) body.varint(offset);
  for (const { value, place } of part) if (place === null) body.bytes(value);
  return body;
}

export function interiorBody(
  children: readonly WrittenNode[],
  height: number,
  prefixBytes: number,
  nodeFile: string,
): ByteWriter {
  const body = createByteWriter();
  body.u8(height);
  writeFiles(body, [{ path: nodeFile, baseBytes: 0 }]);
  body.varint(children.length);
  writeKeys(
    body,
    children.map(({ firstKey }) => firstKey.subarray(prefixBytes)),
    children.map((child) => child.prefixBytes - prefixBytes),
  );
  for (const _ of children) body.varint(0);
  for (const { offset } of children) body.varint(offset);
  for (const { length } of children) body.varint(length);
  for (const { keyCount } of children) body.varint(keyCount);
  for (const { treeBytes } of children) body.varint(treeBytes);
  for (const { valueBytes } of children) body.varint(valueBytes);
  return body;
}

export interface ManifestSettings {
  readonly inlineBytes: number;
  readonly isCompressed: boolean;
  readonly identity: DatabaseIdentity;
}

/** A version without keys is said to lie at 2^64 - 1. */
const NOWHERE = Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255, 255, 1);

/** @param roots of all versions, the empty first one among them; null: they stand elsewhere */
export function manifestBody(
  roots: readonly Root[] | null,
  file: { readonly path: string; readonly baseBytes: number },
  settings: ManifestSettings,
  kind: 0 | 1,
): Uint8Array {
  const { id, commitTimes, maxNodeBytes } = settings.identity;
  const body = createByteWriter();
  body.bytes(id);
  for (const value of [kind, settings.inlineBytes, maxNodeBytes]) body.varint(value);
  body.u8(4);
  body.varint(settings.isCompressed ? 1 : 0);
  if (settings.isCompressed) body.bytes(Uint8Array.of(0, 0, 0, 0));
  if (roots === null) return body.finish();
  const isEmpty = roots.every((root) => root === null);
  writeFiles(body, [{ path: '', baseBytes: 0 }, ...(isEmpty ? [] : [file])]);
  body.varint(roots.length);
  for (const i of roots.keys()) body.varint(i + 1);
  for (const root of roots) body.u8(root?.height ?? 0);
  for (const root of roots) body.varint(root === null ? 0 : 1);
  for (const of of ['offset', 'length'] as const) {
    for (const root of roots) {
      if (root === null) body.bytes(NOWHERE);
      else body.varint(root[of]);
    }
  }
  for (const root of roots) body.varint(root?.keyCount ?? 0);
  for (const root of roots) body.varint(root?.treeBytes ?? 0);
  for (const root of roots) body.varint(root?.valueBytes ?? 0);
  for (const i of roots.keys()) body.bytes(commitTimes[i] ?? new Uint8Array(8));
  // No nodes of older versions.
  body.varint(0);
  return body.finish();
}

/** Names in order, each without what it shares with the one before. */
function writeFiles(
  body: ByteWriter,
  files: readonly { readonly path: string; readonly baseBytes: number }[],
): void {
  body.varint(files.length);
  const paths = files.map(({ path }) => new TextEncoder().encode(path));
  const shared = paths.map((path, i) => (i === 0 ? 0 : sharedLength([paths[i - 1] ?? path, path])));
  for (const length of shared.slice(1)) body.varint(length);
  for (const [i, path] of paths.entries()) body.varint(path.length - (shared[i] ?? 0));
  for (const { baseBytes } of files) body.varint(baseBytes);
  for (const [i, path] of paths.entries()) body.bytes(path.subarray(shared[i]));
}

function writeKeys(
  body: ByteWriter,
  keys: readonly Uint8Array[],
  subtreePrefixes: readonly number[] | null,
): void {
  const shared = keys.map((key, i) =>
    i === 0 ? 0 : sharedLength([keys[i - 1] as Uint8Array, key]),
  );
  for (const length of shared.slice(1)) body.varint(length);
  for (const [i, key] of keys.entries()) body.varint(key.length - (shared[i] ?? 0));
  for (const length of subtreePrefixes ?? []) body.varint(length);
  for (const [i, key] of keys.entries()) body.bytes(key.subarray(shared[i]));
}

export function sharedLength(keys: readonly Uint8Array[]): number {
  const [first = new Uint8Array(0)] = keys;
  let length = first.length;
  for (const key of keys) {
    let same = 0;
    while (same < length && same < key.length && key[same] === first[same]) same++;
    length = same;
  }
  return length;
}

export function envelope(magic: number, body: Uint8Array, isCompressed: boolean): Uint8Array {
  const stored = isCompressed ? zstd(body) : body;
  const bytes = new Uint8Array(4 + 8 + 2 + stored.length + 4);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic, false);
  view.setBigUint64(4, BigInt(bytes.length), true);
  bytes[13] = isCompressed ? 1 : 0;
  bytes.set(stored, 14);
  view.setUint32(bytes.length - 4, crc32c(bytes.subarray(0, -4)), true);
  return bytes;
}

export interface ByteWriter {
  readonly length: number;
  u8(value: number): void;
  varint(value: number): void;
  bytes(bytes: Uint8Array): void;
  finish(): Uint8Array;
}

export function createByteWriter(): ByteWriter {
  const parts: Uint8Array[] = [];
  let length = 0;
  const bytes = (part: Uint8Array): void => {
    parts.push(part);
    length += part.length;
  };
  return {
    get length() {
      return length;
    },
    u8: (value) => bytes(Uint8Array.of(value)),
    varint(value) {
      const out: number[] = [];
      for (let rest = value; ; rest = Math.floor(rest / 128)) {
        if (rest < 128) {
          out.push(rest);
          break;
        }
        out.push((rest % 128) | 128);
      }
      bytes(Uint8Array.from(out));
    },
    bytes,
    finish: () => new Uint8Array(Buffer.concat(parts)),
  };
}
