import { damaged } from './byte-cursor.ts';
import { NODE_MAGIC, readEnvelope, type FileSpan, type OcdbtPlace } from './ocdbt-envelope.ts';
import { decode } from './ocdbt-files.ts';
import { readOcdbtRoot } from './ocdbt-manifest.ts';
import { parseOcdbtNode, type StoredValue } from './ocdbt-node.ts';

/** Far above a checkpoint of some thousand arrays in some hundred chunks each. */
const MAX_KEYS = 2_000_000;
const MAX_NODES = 200_000;

interface NodePlace {
  readonly span: FileSpan;
  readonly base: string;
  readonly height: number;
  readonly prefix: Uint8Array;
  readonly keyCount: number;
}

/**
 * Lists all keys of the newest version with their values' places, in order. Every step down is one
 * level nearer to the leaves, so that no tree goes round in circles.
 * @returns null where the source holds no OCDBT database
 * @throws ServeError invalid_checkpoint, weights_unavailable
 */
export async function listOcdbtKeys(
  place: OcdbtPlace,
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, StoredValue> | null> {
  const root = await readOcdbtRoot(place, signal);
  if (root === null) return null;
  const found = new Map<string, StoredValue>();
  let nodeCount = 0;

  /** @returns keys below it */
  async function visit(node: NodePlace): Promise<number> {
    const where = `${place.source.name}: ${node.span.key} at ${node.span.offset}`;
    nodeCount++;
    if (nodeCount > MAX_NODES) throw damaged(where, `the index has more than ${MAX_NODES} nodes`);
    const cursor = await readEnvelope(place, node.span, NODE_MAGIC, signal);
    const parsed = parseOcdbtNode(cursor, node.height, node.prefix, node.base);
    let count = 0;
    if (parsed.type === 'leaf') {
      for (const { key, value } of parsed.entries) {
        const name = decode(key);
        if (found.has(name)) throw damaged(where, `it holds ${name} a second time`);
        found.set(name, value);
      }
      count = parsed.entries.length;
      if (found.size > MAX_KEYS) throw damaged(where, `the index has more than ${MAX_KEYS} keys`);
    } else {
      // One after the other: memory stays that of one branch, and checkpoints have few nodes.
      for (const child of parsed.children) {
        count += await visit({ ...child, height: node.height - 1 });
      }
    }
    if (count === node.keyCount) return count;
    throw damaged(where, `it holds ${count} keys, but its parent says ${node.keyCount}`);
  }

  await visit({ ...root, prefix: new Uint8Array(0) });
  return found;
}
