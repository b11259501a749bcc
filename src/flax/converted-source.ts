import { ServeError } from '../errors.ts';
import { abortable } from '../lib/abortable.ts';
import type { ObjectSource } from '../weights/object-source.ts';
import type { ConvertArray } from './convert-ahead.ts';
import type { ConversionPlan } from './conversion-plan.ts';
import { createPieceReader, type PieceReader } from './piece-reader.ts';
import type { PlannedArray, PlannedShard } from './planned-shards.ts';

export interface ConvertedSourceOptions {
  readonly plan: ConversionPlan;
  /** Small files beside those of the plan, such as tokenizer.json. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly convert: ConvertArray;
  /** Most bytes of converted arrays that are kept for reads to come. */
  readonly keptBytes: number;
  /** Arrays converted at once. */
  readonly atOnce: number;
}

/** Larger arrays are never whole in memory; they are read from front to back, or else begun again. */
const STREAMED_BYTES = 2 ** 27;

/**
 * The checkpoint that a conversion would write, without writing it: tensors are converted when read.
 * Made for reading once in the order of a forward pass: the arrays that follow are converted meanwhile,
 * and what was read is forgotten.
 */
export function createConvertedSource(options: ConvertedSourceOptions): ObjectSource {
  const { plan, convert } = options;
  const shards = new Map(plan.shards.map((shard) => [shard.file, shard]));
  const order = plan.shards
    .flatMap(({ arrays }) => arrays)
    .filter((array) => array.sizeBytes <= STREAMED_BYTES)
    .toSorted((a, b) => a.flax.order - b.flax.order);
  const kept = new Map<PlannedArray, KeptArray>();
  const streams = new Map<PlannedArray, PieceReader>();
  const stop = new AbortController();
  let keptBytes = 0;

  function begin(array: PlannedArray): KeptArray {
    const pieces = convert(array.flax, stop.signal);
    const entry = { bytes: collect(pieces, array.sizeBytes), left: array.sizeBytes };
    entry.bytes.catch(() => undefined);
    kept.set(array, entry);
    keptBytes += array.sizeBytes;
    return entry;
  }

  function forget(array: PlannedArray): void {
    if (kept.delete(array)) keptBytes -= array.sizeBytes;
  }

  /** Begins with what comes after `array`, as far as there is room. */
  function lookAhead(array: PlannedArray): void {
    const at = order.indexOf(array);
    for (const next of order.slice(at + 1, at + options.atOnce)) {
      if (kept.has(next)) continue;
      if (keptBytes + next.sizeBytes > options.keptBytes) return;
      begin(next);
    }
  }

  async function readWhole(array: PlannedArray, offset: number, target: Uint8Array): Promise<void> {
    const known = kept.get(array);
    if (known === undefined) {
      // What was kept and not read out is of no use before what is asked for now.
      for (const oldest of kept.keys()) {
        if (keptBytes + array.sizeBytes <= options.keptBytes) break;
        forget(oldest);
      }
    }
    const entry = known ?? begin(array);
    lookAhead(array);
    const bytes = await entry.bytes;
    target.set(bytes.subarray(offset, offset + target.length));
    entry.left -= target.length;
    if (entry.left <= 0) forget(array);
  }

  async function readArray(array: PlannedArray, offset: number, target: Uint8Array): Promise<void> {
    if (array.sizeBytes <= STREAMED_BYTES) return readWhole(array, offset, target);
    let stream = streams.get(array);
    if (stream === undefined) {
      stream = createPieceReader(() => convert(array.flax, stop.signal));
      streams.set(array, stream);
    }
    await stream.read(offset, target);
  }

  async function readShard(shard: PlannedShard, offset: number, target: Uint8Array): Promise<void> {
    const end = offset + target.length;
    if (offset < shard.head.length) target.set(shard.head.subarray(offset, end));
    for (const array of shard.arrays) {
      const from = Math.max(offset, array.offset);
      const to = Math.min(end, array.offset + array.sizeBytes);
      if (from >= to) continue;
      await readArray(array, from - array.offset, target.subarray(from - offset, to - offset));
    }
  }

  const smallFile = (key: string): Uint8Array | undefined =>
    plan.files.get(key) ?? options.files.get(key);
  const sizeOf = (key: string): number | null =>
    smallFile(key)?.length ?? shards.get(key)?.sizeBytes ?? null;
  return {
    name: plan.name,
    async head(key, signal) {
      signal?.throwIfAborted();
      const sizeBytes = sizeOf(key);
      return sizeBytes === null ? null : { sizeBytes, etag: plan.fingerprint };
    },
    async read(key, offset, target, signal) {
      signal?.throwIfAborted();
      if (offset + target.length > (sizeOf(key) ?? 0)) {
        throw new ServeError(
          'weights_unavailable',
          `${plan.name}: ${key} ends before ${offset + target.length}`,
        );
      }
      const file = smallFile(key);
      const shard = shards.get(key);
      if (file !== undefined) target.set(file.subarray(offset, offset + target.length));
      else if (shard !== undefined) await abortable(readShard(shard, offset, target), signal);
    },
    async list() {
      return [...plan.files.keys(), ...options.files.keys(), ...shards.keys()];
    },
    async close() {
      stop.abort(new DOMException('the source was closed', 'AbortError'));
      const pending = [...kept.values()].map(({ bytes }) => bytes);
      await Promise.allSettled([
        ...pending,
        ...[...streams.values()].map((stream) => stream.close()),
      ]);
      kept.clear();
    },
  };
}

interface KeptArray {
  readonly bytes: Promise<Uint8Array>;
  /** Not read yet. */
  left: number;
}

async function collect(pieces: AsyncGenerator<Uint8Array>, sizeBytes: number): Promise<Uint8Array> {
  const whole = new Uint8Array(sizeBytes);
  let at = 0;
  for await (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
