import type { ByteCursor } from './byte-cursor.ts';
import type { FileSpan } from './ocdbt-envelope.ts';
import { fileAt, readDataFiles, readNames, type DataFile } from './ocdbt-files.ts';

/** A value: in the index itself, or a range of a file. */
export type StoredValue =
  | { readonly type: 'inline'; readonly bytes: Uint8Array }
  | ({ readonly type: 'span' } & FileSpan);

export type OcdbtNode =
  | {
      readonly type: 'leaf';
      readonly entries: readonly { readonly key: Uint8Array; readonly value: StoredValue }[];
    }
  | {
      readonly type: 'interior';
      readonly children: readonly {
        /** What all keys below it begin with. */
        readonly prefix: Uint8Array;
        readonly span: FileSpan;
        readonly base: string;
        readonly keyCount: number;
      }[];
    };

/**
 * Reads one node of the B-tree.
 * @param height what its parent says; 0 is a leaf
 * @param prefix what its keys begin with: they are stored without
 * @param base what the names of its files begin with
 * @throws ServeError invalid_checkpoint
 */
export function parseOcdbtNode(
  cursor: ByteCursor,
  height: number,
  prefix: Uint8Array,
  base: string,
): OcdbtNode {
  const found = cursor.u8();
  if (found !== height)
    throw cursor.fail(`it lies ${found} levels above the leaves, not ${height}`);
  const files = readDataFiles(cursor, base);
  const count = cursor.count(2);
  if (count === 0) return { type: 'leaf', entries: [] };
  const { names, extra } = readNames(cursor, count, () =>
    height > 0 ? cursor.varints(count) : [],
  );
  const keys = names.map((name) => join(prefix, name));
  for (let i = 1; i < count; i++) {
    if (compare(keys[i - 1] ?? prefix, keys[i] ?? prefix) >= 0) {
      throw cursor.fail('its keys are out of order or repeat');
    }
  }
  const fileOf: FileOf = (id) => fileAt(cursor, files, id);
  const node: OcdbtNode =
    height === 0
      ? readLeaf(cursor, keys, fileOf)
      : readInterior(cursor, keys, names, prefix, extra, fileOf);
  if (cursor.left > 0) throw cursor.fail(`${cursor.left} bytes follow its end`);
  return node;
}

type FileOf = (id: number) => DataFile;

function readLeaf(cursor: ByteCursor, keys: readonly Uint8Array[], fileOf: FileOf): OcdbtNode {
  const lengths = cursor.varints(keys.length);
  const kinds = cursor.varints(keys.length);
  const unknown = kinds.find((kind) => kind > 1);
  if (unknown !== undefined) throw cursor.fail(`a value is of kind ${unknown}, not 0 or 1`);
  const outside = kinds.filter((kind) => kind === 1).length;
  const ids = cursor.varints(outside);
  const offsets = cursor.varints(outside);
  let next = 0;
  const entries = keys.map((key, i): { key: Uint8Array; value: StoredValue } => {
    const sizeBytes = lengths[i] ?? 0;
    if (kinds[i] === 0) return { key, value: { type: 'inline', bytes: cursor.bytes(sizeBytes) } };
    const [id, offset] = [ids[next] ?? 0, offsets[next] ?? 0];
    next++;
    return { key, value: { type: 'span', key: fileOf(id).key, offset, sizeBytes } };
  });
  return { type: 'leaf', entries };
}

function readInterior(
  cursor: ByteCursor,
  keys: readonly Uint8Array[],
  names: readonly Uint8Array[],
  prefix: Uint8Array,
  sharedBytes: readonly number[],
  fileOf: FileOf,
): OcdbtNode {
  const count = keys.length;
  const ids = cursor.varints(count);
  const offsets = cursor.varints(count);
  const lengths = cursor.varints(count);
  const keyCounts = cursor.varints(count);
  // Bytes of the tree and of values below: for writers.
  cursor.varints(count);
  cursor.varints(count);
  const children = keys.map((key, i) => {
    const shared = sharedBytes[i] ?? 0;
    if (shared > (names[i]?.length ?? 0)) throw cursor.fail('keys share more than they have');
    const file = fileOf(ids[i] ?? 0);
    return {
      prefix: key.subarray(0, prefix.length + shared),
      span: { key: file.key, offset: offsets[i] ?? 0, sizeBytes: lengths[i] ?? 0 },
      base: file.base,
      keyCount: keyCounts[i] ?? 0,
    };
  });
  return { type: 'interior', children };
}

function join(first: Uint8Array, second: Uint8Array): Uint8Array {
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}

function compare(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
