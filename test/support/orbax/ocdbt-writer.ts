import {
  createByteWriter,
  envelope,
  IDENTITY,
  interiorBody,
  leafBody,
  manifestBody,
  sharedLength,
  type ByteWriter,
  type DatabaseIdentity,
  type Entry,
  type Root,
  type WrittenNode,
} from './ocdbt-encoding.ts';

export interface OcdbtOptions {
  /** Keys in a leaf, children of an interior node; or one number for each level, leaves first. */
  readonly fanout: number | readonly number[];
  /** Values up to this size lie in their node. */
  readonly inlineBytes?: number;
  readonly isCompressed?: boolean;
  /** Changes a node before it is closed by its checksum. */
  readonly change?: (body: ByteWriter, height: number) => void;
  /** Files that values are dealt out to; none: they lie in the file of the nodes. Default: one. */
  readonly valueFiles?: readonly string[];
  readonly nodeFile?: string;
  /** What a process puts before the names of its files. */
  readonly base?: string;
  /** How many of the keys each version holds that lies between the first, empty one and the newest. */
  readonly olderCounts?: readonly number[];
  readonly isNumbered?: boolean;
  /** What only this database has. */
  readonly identity?: DatabaseIdentity;
}

const MANIFEST = 0x0cdb_3a2a;
const NODE = 0x0cdb_20de;
/** As a process of Orbax writes: the paths in its nodes begin in its own folder. */
const PROCESS = 'ocdbt.process_0/';
const VALUES = 'd/aaaa0000aaaa0000aaaa0000aaaa0000';
const NODES = 'd/bbbb0000bbbb0000bbbb0000bbbb0000';
/**
 * An OCDBT database, written apart from the reader and to the byte as TensorStore does: keys sorted by
 * bytes, values before the nodes that refer to them, and an empty version before all others.
 */
export function writeOcdbt(
  values: Readonly<Record<string, Uint8Array>>,
  options: OcdbtOptions,
): Record<string, Uint8Array> {
  const { base = PROCESS, nodeFile = NODES, isCompressed = true, inlineBytes = 100 } = options;
  const settings = { inlineBytes, isCompressed, identity: options.identity ?? IDENTITY };
  const valueFiles = options.valueFiles ?? [VALUES];
  const writers = new Map([nodeFile, ...valueFiles].map((name) => [name, createByteWriter()]));
  const entries = placeValues(values, inlineBytes, (index) => {
    const file = valueFiles[index % valueFiles.length] ?? nodeFile;
    return { file, writer: writers.get(file) as ByteWriter };
  });
  const nodes = writers.get(nodeFile) as ByteWriter;
  const counts = [0, ...(options.olderCounts ?? []), entries.length];
  const roots = counts.map((count) => writeTree(entries.slice(0, count), nodeFile, nodes, options));

  const file = { path: base + nodeFile, baseBytes: base.length };
  const manifest = (body: Uint8Array): Uint8Array => envelope(MANIFEST, body, isCompressed);
  const files = Object.fromEntries(
    [...writers].map(([name, writer]) => [base + name, writer.finish()]),
  );
  if (options.isNumbered !== true) {
    return { 'manifest.ocdbt': manifest(manifestBody(roots, file, settings, 0)), ...files };
  }
  const numbered = roots.map((_, i) => [
    `manifest.${(i + 1).toString(16).padStart(16, '0')}`,
    manifest(manifestBody(roots.slice(0, i + 1), file, settings, 0)),
  ]);
  return {
    'manifest.ocdbt': manifest(manifestBody(null, file, settings, 1)),
    ...(Object.fromEntries(numbered) as Record<string, Uint8Array>),
    ...files,
  };
}

function placeValues(
  values: Readonly<Record<string, Uint8Array>>,
  inlineBytes: number,
  fileFor: (index: number) => { readonly file: string; readonly writer: ByteWriter },
): readonly Entry[] {
  return Object.entries(values)
    .map(([key, value]) => ({ key: new TextEncoder().encode(key), value }))
    .toSorted((a, b) => Buffer.compare(a.key, b.key))
    .map(({ key, value }, i) => {
      if (value.length <= inlineBytes) return { key, value, place: null };
      const { file, writer } = fileFor(i);
      const offset = writer.length;
      writer.bytes(value);
      return { key, value, place: { file, offset } };
    });
}

function writeTree(
  entries: readonly Entry[],
  nodeFile: string,
  nodes: ByteWriter,
  options: OcdbtOptions,
): Root {
  if (entries.length === 0) return null;
  const { fanout } = options;
  const most = (level: number): number =>
    typeof fanout === 'number' ? fanout : (fanout[level] ?? fanout.at(-1) ?? 2);
  const put = (body: ByteWriter, level: number): { offset: number; length: number } => {
    options.change?.(body, level);
    const bytes = envelope(NODE, body.finish(), options.isCompressed ?? true);
    const offset = nodes.length;
    nodes.bytes(bytes);
    return { offset, length: bytes.length };
  };
  let height = 0;
  let level: WrittenNode[] = slices(entries, most(0)).map((part) => {
    const keys = part.map(({ key }) => key);
    // A root has no parent that could tell its prefix.
    const prefixBytes = entries.length <= most(0) ? 0 : sharedLength(keys);
    const place = put(leafBody(part, prefixBytes), 0);
    const outside = part.filter((entry) => entry.place !== null);
    return {
      firstKey: keys[0] as Uint8Array,
      lastKey: keys.at(-1) as Uint8Array,
      ...place,
      keyCount: part.length,
      treeBytes: place.length,
      valueBytes: outside.reduce((sum, { value }) => sum + value.length, 0),
      prefixBytes,
    };
  });
  while (level.length > 1) {
    height++;
    const branching = most(height);
    const isRoot = level.length <= branching;
    level = slices(level, branching).map((children) => {
      const ends = children.flatMap(({ firstKey, lastKey }) => [firstKey, lastKey]);
      const prefixBytes = isRoot ? 0 : sharedLength(ends);
      const place = put(interiorBody(children, height, prefixBytes, nodeFile), height);
      const sum = (of: (child: WrittenNode) => number): number =>
        children.reduce((total, child) => total + of(child), 0);
      return {
        firstKey: children[0]?.firstKey as Uint8Array,
        lastKey: children.at(-1)?.lastKey as Uint8Array,
        ...place,
        keyCount: sum(({ keyCount }) => keyCount),
        treeBytes: place.length + sum(({ treeBytes }) => treeBytes),
        valueBytes: sum(({ valueBytes }) => valueBytes),
        prefixBytes,
      };
    });
  }
  return { ...(level[0] as WrittenNode), height };
}

function slices<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) =>
    items.slice(i * size, (i + 1) * size),
  );
}
