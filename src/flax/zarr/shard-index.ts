import type { ObjectSource } from '../../weights/object-source.ts';
import { damaged } from '../byte-cursor.ts';
import { crc32c } from '../crc32c.ts';
import { chunkBytes } from '../orbax-array.ts';
import type { StoredValue } from '../ocdbt-node.ts';
import { chunkGrid, product, type ZarrMetadata, type ZarrShards } from './zarr-metadata.ts';

/** Where chunks lie in a shard; null for one that is not there. */
type ShardIndex = readonly (StoredValue | null)[];

/** Offset and length. */
const ENTRY_BYTES = 16;
const CHECKSUM_BYTES = 4;
/** Both numbers of a chunk that is not there. */
const NOWHERE = 2n ** 64n - 1n;

/**
 * Finds the chunks of an array in its shards.
 * @param stored in C order of the grid of shards
 * @param where the array, for messages
 * @returns in C order of the grid of chunks
 * @throws ServeError invalid_checkpoint, weights_unavailable
 */
export async function chunksInShards(
  source: ObjectSource,
  metadata: ZarrMetadata & { readonly shards: ZarrShards },
  stored: readonly StoredValue[],
  where: string,
  signal?: AbortSignal,
): Promise<readonly StoredValue[]> {
  const { shape, chunks, shards } = metadata;
  /** Chunks along each dimension of a shard. */
  const inner = chunkGrid({ shape: shards.shape, chunks });
  const outer = chunkGrid({ shape, chunks: shards.shape });
  const indexes: ShardIndex[] = [];
  for (const [i, shard] of stored.entries()) {
    indexes.push(
      await readIndex(source, shard, product(inner), shards, `${where}, shard ${i}`, signal),
    );
  }
  return Array.from(positions(chunkGrid({ shape, chunks })), (position) => {
    const shard = place(
      position.map((at, i) => Math.floor(at / (inner[i] ?? 1))),
      outer,
    );
    const chunk =
      indexes[shard]?.[
        place(
          position.map((at, i) => at % (inner[i] ?? 1)),
          inner,
        )
      ];
    if (chunk === undefined || chunk === null) {
      throw damaged(where, `its chunk ${position.join('.')} is missing from shard ${shard}`);
    }
    return chunk;
  });
}

async function readIndex(
  source: ObjectSource,
  shard: StoredValue,
  count: number,
  { indexLocation, isChecked }: ZarrShards,
  where: string,
  signal?: AbortSignal,
): Promise<ShardIndex> {
  const size = count * ENTRY_BYTES + (isChecked ? CHECKSUM_BYTES : 0);
  const shardBytes = chunkBytes(shard);
  if (size > shardBytes) {
    throw damaged(where, `it has ${shardBytes} bytes, but its index alone takes ${size}`);
  }
  const at = indexLocation === 'start' ? 0 : shardBytes - size;
  const bytes = new Uint8Array(size);
  if (shard.type === 'inline') bytes.set(shard.bytes.subarray(at, at + size));
  else await source.read(shard.key, shard.offset + at, bytes, signal);
  const view = new DataView(bytes.buffer);
  const end = count * ENTRY_BYTES;
  if (isChecked && view.getUint32(end, true) !== crc32c(bytes.subarray(0, end))) {
    throw damaged(where, 'the CRC-32C of its index is wrong');
  }
  return Array.from({ length: count }, (_, i) => {
    const offset = view.getBigUint64(i * ENTRY_BYTES, true);
    const length = view.getBigUint64(i * ENTRY_BYTES + 8, true);
    if (offset === NOWHERE && length === NOWHERE) return null;
    if (offset + length > BigInt(shardBytes)) {
      throw damaged(where, `its chunk ${i} would end at ${offset + length} of ${shardBytes} bytes`);
    }
    return part(shard, Number(offset), Number(length));
  });
}

function part(shard: StoredValue, offset: number, sizeBytes: number): StoredValue {
  if (shard.type === 'inline') {
    return { type: 'inline', bytes: shard.bytes.subarray(offset, offset + sizeBytes) };
  }
  return { type: 'span', key: shard.key, offset: shard.offset + offset, sizeBytes };
}

/** Number of a position in C order. */
function place(position: readonly number[], grid: readonly number[]): number {
  return position.reduce((number, at, i) => number * (grid[i] ?? 1) + at, 0);
}

/** All positions in C order. */
function* positions(grid: readonly number[]): Generator<readonly number[]> {
  const total = product(grid);
  for (let number = 0; number < total; number++) {
    const position: number[] = [];
    let rest = number;
    for (const count of grid.toReversed()) {
      position.unshift(rest % count);
      rest = Math.floor(rest / count);
    }
    yield position;
  }
}
