import { checkObjectKey } from '../weights/object-key.ts';
import type { ByteCursor } from './byte-cursor.ts';

/** A file that a manifest or node names. */
export interface DataFile {
  /** Path from the database's root; empty for the file that versions without keys are said to be in. */
  readonly key: string;
  /** What the names of files in nodes that lie in this file begin with. */
  readonly base: string;
}

/** The longest path that is read, in bytes; also of keys. */
const MAX_NAME_BYTES = 4096;

/**
 * The table of data files: names, each without what it shares with the one before.
 * @param base what all of them begin with
 * @throws ServeError invalid_checkpoint (damaged, or a path that leads out of the checkpoint)
 */
export function readDataFiles(cursor: ByteCursor, base: string): readonly DataFile[] {
  const count = cursor.count(2);
  if (count === 0) return [];
  const names = readNames(cursor, count, () => cursor.varints(count));
  return names.names.map((name, i) => {
    const baseBytes = names.extra[i] ?? 0;
    if (baseBytes > name.length) throw cursor.fail('a base path is longer than its path');
    const key = base + decode(name);
    return {
      key: key === '' ? '' : checkObjectKey(key),
      base: base + decode(name.subarray(0, baseBytes)),
    };
  });
}

/** @throws ServeError invalid_checkpoint where there is no file of that number */
export function fileAt(cursor: ByteCursor, files: readonly DataFile[], id: number): DataFile {
  const file = files[id];
  if (file === undefined) throw cursor.fail(`it refers to file ${id} of ${files.length}`);
  if (file.key === '') throw cursor.fail(`it refers to file ${id}, which has no name`);
  return file;
}

/**
 * A column of names that share beginnings: lengths of the shared parts, of the rest, what `between`
 * reads, then the rests.
 */
export function readNames(
  cursor: ByteCursor,
  count: number,
  between: () => readonly number[],
): { readonly names: readonly Uint8Array[]; readonly extra: readonly number[] } {
  const shared = [0, ...cursor.varints(count - 1)];
  const rests = cursor.varints(count);
  const extra = between();
  const names: Uint8Array[] = [];
  let previous = new Uint8Array(0);
  for (let i = 0; i < count; i++) {
    const [kept, added] = [shared[i] ?? 0, rests[i] ?? 0];
    if (kept > previous.length) throw cursor.fail('a name shares more than the one before has');
    if (kept + added > MAX_NAME_BYTES) throw cursor.fail(`a name has ${kept + added} bytes`);
    const name = new Uint8Array(kept + added);
    name.set(previous.subarray(0, kept));
    name.set(cursor.bytes(added), kept);
    names.push(name);
    previous = name;
  }
  return { names, extra };
}

/** Names are text; what is none stays distinct. */
export function decode(name: Uint8Array): string {
  return new TextDecoder().decode(name);
}
