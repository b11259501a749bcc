import { crc32c } from '../../src/flax/crc32c.ts';
import { zstd } from './zstd-frame.ts';

export interface OcdbtOptions {
  /** Keys in a leaf, children of an interior node. */
  readonly fanout: number;
  /** Values up to this size lie in their node. */
  readonly inlineBytes?: number;
  readonly isCompressed?: boolean;
  /** Changes a node before it is closed by its checksum. */
  readonly change?: (body: ByteWriter, height: number) => void;
}

/** Where a node was put, and what its parent needs to know. */
interface WrittenNode {
  readonly firstKey: Uint8Array;
  readonly lastKey: Uint8Array;
  readonly file: string;
  readonly offset: number;
  readonly length: number;
  readonly keyCount: number;
  readonly prefixBytes: number;
}

const MANIFEST = 0x0cdb_3a2a;
const NODE = 0x0cdb_20de;
/** As a process of Orbax writes: the paths in its nodes begin in its own folder. */
const PROCESS = 'ocdbt.process_0/';
const VALUES = 'd/aaaa0000aaaa0000aaaa0000aaaa0000';
const NODES = 'd/bbbb0000bbbb0000bbbb0000bbbb0000';

/**
 * An OCDBT database, written apart from the reader: keys sorted by bytes, values and nodes in files of
 * their own, a manifest with an older version before the newest.
 */
export function writeOcdbt(
  values: Readonly<Record<string, Uint8Array>>,
  options: OcdbtOptions,
): Record<string, Uint8Array> {
  const inlineBytes = options.inlineBytes ?? 100;
  const entries = Object.entries(values)
    .map(([key, value]) => ({ key: new TextEncoder().encode(key), value }))
    .toSorted((a, b) => Buffer.compare(a.key, b.key));
  const valueFile = createByteWriter();
  const nodeFile = createByteWriter();

  const put = (body: ByteWriter, height: number): { offset: number; length: number } => {
    options.change?.(body, height);
    const bytes = envelope(NODE, body.finish(), options.isCompressed ?? true);
    const offset = nodeFile.length;
    nodeFile.bytes(bytes);
    return { offset, length: bytes.length };
  };

  let level: WrittenNode[] = slices(entries, options.fanout).map((part) => {
    const keys = part.map(({ key }) => key);
    // A root has no parent that could tell its prefix.
    const prefixBytes = entries.length <= options.fanout ? 0 : sharedLength(keys);
    const body = createByteWriter();
    body.u8(0);
    writeFiles(body, [{ path: VALUES, baseBytes: 0 }]);
    body.varint(part.length);
    writeKeys(
      body,
      keys.map((key) => key.subarray(prefixBytes)),
      null,
    );
    const outside = part.filter(({ value }) => value.length > inlineBytes);
    for (const { value } of part) body.varint(value.length);
    for (const { value } of part) body.varint(value.length > inlineBytes ? 1 : 0);
    for (const _ of outside) body.varint(0);
    for (const { value } of outside) {
      body.varint(valueFile.length);
      valueFile.bytes(value);
    }
    for (const { value } of part) if (value.length <= inlineBytes) body.bytes(value);
    return {
      firstKey: keys[0] as Uint8Array,
      lastKey: keys.at(-1) as Uint8Array,
      file: NODES,
      ...put(body, 0),
      keyCount: part.length,
      prefixBytes,
    };
  });

  let height = 0;
  while (level.length > 1) {
    height++;
    level = slices(level, options.fanout).map((children) => {
      const isRoot = level.length <= options.fanout;
      const ends = children.flatMap(({ firstKey, lastKey }) => [firstKey, lastKey]);
      const prefixBytes = isRoot ? 0 : sharedLength(ends);
      const body = createByteWriter();
      body.u8(height);
      writeFiles(body, [{ path: NODES, baseBytes: 0 }]);
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
      for (const _ of children) body.varint(0);
      for (const _ of children) body.varint(0);
      return {
        firstKey: children[0]?.firstKey as Uint8Array,
        lastKey: children.at(-1)?.lastKey as Uint8Array,
        file: NODES,
        ...put(body, height),
        keyCount: children.reduce((sum, { keyCount }) => sum + keyCount, 0),
        prefixBytes,
      };
    });
  }
  const root = level[0] as WrittenNode;
  return {
    'manifest.ocdbt': envelope(MANIFEST, manifestBody(root, height), options.isCompressed ?? true),
    [PROCESS + VALUES]: valueFile.finish(),
    [PROCESS + NODES]: nodeFile.finish(),
  };
}

function manifestBody(root: WrittenNode, height: number): Uint8Array {
  const body = createByteWriter();
  body.bytes(new Uint8Array(16).fill(7));
  for (const value of [0, 100, 8 << 20]) body.varint(value);
  body.u8(4);
  body.varint(1);
  body.bytes(Uint8Array.of(0, 0, 0, 0));
  writeFiles(body, [{ path: PROCESS + NODES, baseBytes: PROCESS.length }]);
  // An older version that lies nowhere, then the newest.
  const columns: readonly (readonly number[])[] = [
    [1, 2],
    [0, height],
    [0, 0],
    [0, root.offset],
    [0, root.length],
    [0, root.keyCount],
    [0, 0],
    [0, 0],
  ];
  body.varint(2);
  for (const [i, column] of columns.entries()) {
    for (const value of column) {
      if (i === 1) body.u8(value);
      else body.varint(value);
    }
  }
  body.bytes(new Uint8Array(16));
  // No nodes of older versions.
  body.varint(0);
  return body.finish();
}

function writeFiles(
  body: ByteWriter,
  files: readonly { readonly path: string; readonly baseBytes: number }[],
): void {
  body.varint(files.length);
  for (const _ of files.slice(1)) body.varint(0);
  for (const { path } of files) body.varint(path.length);
  for (const { baseBytes } of files) body.varint(baseBytes);
  for (const { path } of files) body.bytes(new TextEncoder().encode(path));
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

function sharedLength(keys: readonly Uint8Array[]): number {
  const [first = new Uint8Array(0)] = keys;
  let length = first.length;
  for (const key of keys) {
    let same = 0;
    while (same < length && same < key.length && key[same] === first[same]) same++;
    length = same;
  }
  return length;
}

function slices<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) =>
    items.slice(i * size, (i + 1) * size),
  );
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

function createByteWriter(): ByteWriter {
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
