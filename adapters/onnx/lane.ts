import type { LayerType, TextConfig } from '../../src/model/config.ts';
import { fillLocalImageBias } from '../../src/model/mask.ts';
import type { KvCache } from './kv-cache.ts';
import type { LayerGroup } from './layer-groups.ts';
import type { LoadedSession } from './load-session.ts';
import { allocateNative, type NativeMemory } from './native-memory.ts';
import type { OrtBinding, OrtRuntime, OrtTensor } from './ort.ts';

export interface DecoderGroup extends LayerGroup {
  readonly loaded: Promise<LoadedSession>;
}

/** What every pass through the decoder shares. */
export interface DecoderParts {
  readonly runtime: OrtRuntime;
  readonly config: TextConfig;
  readonly groups: readonly DecoderGroup[];
  readonly cache: KvCache;
  /** cos and sin of each layer type, [positions, headDim / 2], in one block of memory. */
  readonly rope: NativeMemory;
  readonly ropePositions: number;
  readonly withImages: boolean;
}

/** Rows [firstRow, firstRow + rowCount), each advanced by `tokenCount` tokens. */
export interface Pass {
  readonly firstRow: number;
  readonly rowCount: number;
  readonly tokenCount: number;
  readonly isImage: boolean;
}

/**
 * The inputs of one kind of pass in memory that stays put, and the bindings over it: a pass writes
 * its inputs and runs; nothing is allocated once its shape has been seen.
 */
export interface Lane {
  /** [rowCount * tokenCount, hiddenSize]: embeddings, to be written before `run`. */
  readonly x: Float32Array;
  /** Runs all groups. Rows must have room. Returns the hidden states, laid out as `x`. */
  run(pass: Pass): Promise<Float32Array>;
  free(): void;
}

const ROPE_TYPES: readonly LayerType[] = ['global', 'local'];
const BINDINGS_KEPT = 16;

interface Bound {
  /** Of the groups that ran so far. */
  readonly bindings: OrtBinding[];
  readonly tensors: OrtTensor[];
  /** What the groups share. */
  readonly common: ReadonlyMap<string, OrtTensor>;
  readonly states: readonly OrtTensor[];
}

/** @param rows,tokens largest pass: rows * tokens <= max(rows, tokens) */
export function createLane(parts: DecoderParts, rows: number, tokens: number): Lane {
  const { runtime, config, groups, cache, withImages } = parts;
  const { hiddenSize } = config;
  const positionsMax = Math.max(rows, tokens);
  const layout = new Layout();
  const xAt = [
    layout.take(positionsMax * hiddenSize * 4),
    layout.take(positionsMax * hiddenSize * 4),
  ];
  const positionsAt = layout.take(positionsMax * 8);
  const lengthsAt = { local: layout.take(rows * 4), global: layout.take(rows * 4) };
  const totalAt = { local: layout.take(4), global: layout.take(4) };
  const isImageAt = layout.take(1);
  const biasAt = layout.take(withImages ? tokens * cache.capacity.local * 4 : 4);
  const memory = allocateNative(layout.sizeBytes);
  const positions = new BigInt64Array(memory.buffer, positionsAt, positionsMax);
  const lengths = {
    local: new Int32Array(memory.buffer, lengthsAt.local, rows),
    global: new Int32Array(memory.buffer, lengthsAt.global, rows),
  };
  const totals = {
    local: new Int32Array(memory.buffer, totalAt.local, 1),
    global: new Int32Array(memory.buffer, totalAt.global, 1),
  };
  const isImage = new Uint8Array(memory.buffer, isImageAt, 1);
  const hidden = xAt.map((at) => new Float32Array(memory.buffer, at, positionsMax * hiddenSize));
  const known = new Map<string, Bound>();

  function fill(pass: Pass): void {
    const { firstRow, rowCount, tokenCount } = pass;
    totals.local[0] = totals.global[0] = 0;
    for (let i = 0; i < rowCount; i++) {
      const row = cache.rows[firstRow + i];
      if (row === undefined) throw new RangeError(`no row ${firstRow + i}`);
      for (let t = 0; t < tokenCount; t++) positions[i * tokenCount + t] = BigInt(row.length + t);
      const ends = { local: row.localLength + tokenCount, global: row.length + tokenCount };
      for (const type of ROPE_TYPES) {
        lengths[type][i] = ends[type] - 1;
        totals[type][0] = Math.max(totals[type][0] as number, ends[type]);
      }
    }
    isImage[0] = pass.isImage ? 1 : 0;
    if (pass.isImage) {
      const columns = totals.local[0] ?? 0;
      const bias = new Float32Array(memory.buffer, biasAt, tokenCount * columns);
      fillLocalImageBias(bias, columns - tokenCount, tokenCount, config.windowTokens);
    }
  }

  function createBound(pass: Pass): Bound {
    const { rowCount, tokenCount } = pass;
    const tensors: OrtTensor[] = [];
    const keep = (tensor: OrtTensor): OrtTensor => {
      tensors.push(tensor);
      return tensor;
    };
    try {
      const states = xAt.map((at) =>
        keep(runtime.tensor(memory, at, 'float', [rowCount, tokenCount, hiddenSize])),
      );
      const common = new Map<string, OrtTensor>([
        ['positions', keep(runtime.tensor(memory, positionsAt, 'int64', [rowCount, tokenCount]))],
      ]);
      const half = config.headDim / 2;
      const ropeBytes = parts.ropePositions * half * 4;
      for (const [t, type] of ROPE_TYPES.entries()) {
        common.set(
          `lengths.${type}`,
          keep(runtime.tensor(memory, lengthsAt[type], 'int32', [rowCount])),
        );
        common.set(`total.${type}`, keep(runtime.tensor(memory, totalAt[type], 'int32', [1])));
        for (const [k, kind] of ['cos', 'sin'].entries()) {
          const at = (2 * t + k) * ropeBytes;
          const dims = [parts.ropePositions, half];
          common.set(`${kind}.${type}`, keep(runtime.tensor(parts.rope, at, 'float', dims)));
        }
      }
      if (withImages) {
        const dims = pass.isImage ? [1, 1, tokenCount, totals.local[0] as number] : [1, 1, 1, 1];
        common.set('isImage', keep(runtime.tensor(memory, isImageAt, 'bool', [1])));
        common.set('bias.local', keep(runtime.tensor(memory, biasAt, 'float', dims)));
      }
      return { bindings: [], tensors, common, states };
    } catch (error) {
      for (const tensor of tensors) tensor.release();
      throw error;
    }
  }

  /** The binding of group `g`, which is loaded. */
  function bindGroup(bound: Bound, g: number, pass: Pass, { session }: LoadedSession): OrtBinding {
    const group = groups[g] as DecoderGroup;
    const inputs = inputsOf(group, config, withImages, bound.common);
    const outputs = new Map<string, OrtTensor>();
    inputs.set('x', bound.states[g % 2] as OrtTensor);
    outputs.set('y', bound.states[(g + 1) % 2] as OrtTensor);
    for (let layer = group.from; layer < group.to; layer++) {
      const capacity = cache.capacity[config.layerTypes[layer] as LayerType];
      const dims = [pass.rowCount, config.kvHeadCount, capacity, config.headDim];
      for (const [k, kind] of ['key', 'value'].entries()) {
        const buffer = cache.layers[layer]?.[k] as NativeMemory;
        const at = pass.firstRow * cache.rowBytes(layer);
        const tensor = runtime.tensor(buffer, at, 'float', dims);
        bound.tensors.push(tensor);
        inputs.set(`past.${layer}.${kind}`, tensor);
        outputs.set(`present.${layer}.${kind}`, tensor);
      }
    }
    const binding = session.bind(inputs, outputs);
    bound.bindings.push(binding);
    return binding;
  }

  function boundFor(pass: Pass): Bound {
    const bias = pass.isImage ? totals.local[0] : 0;
    const key = `${pass.firstRow}+${pass.rowCount}x${pass.tokenCount}:${bias}`;
    const found = known.get(key) ?? createBound(pass);
    // Re-inserting keeps the map in order of use; the first entry is the one used longest ago.
    known.delete(key);
    known.set(key, found);
    if (known.size > BINDINGS_KEPT) {
      const [oldest] = known.keys();
      if (oldest !== undefined) forget(oldest);
    }
    return found;
  }

  function forget(key: string): void {
    const bound = known.get(key);
    known.delete(key);
    for (const binding of bound?.bindings ?? []) binding.release();
    for (const tensor of bound?.tensors ?? []) tensor.release();
  }

  return {
    x: hidden[0] as Float32Array,
    async run(pass) {
      fill(pass);
      const bound = boundFor(pass);
      for (const [g, group] of groups.entries()) {
        // While the model loads, a pass waits here for the group that it has come to.
        const binding = bound.bindings[g] ?? bindGroup(bound, g, pass, await group.loaded);
        await binding.run();
      }
      return hidden[groups.length % 2] as Float32Array;
    },
    free() {
      for (const key of known.keys()) forget(key);
      memory.free();
    },
  };
}

function inputsOf(
  group: LayerGroup,
  config: TextConfig,
  withImages: boolean,
  common: ReadonlyMap<string, OrtTensor>,
): Map<string, OrtTensor> {
  const types = new Set(config.layerTypes.slice(group.from, group.to));
  const wanted = ['positions'];
  for (const type of types) {
    wanted.push(`lengths.${type}`, `total.${type}`, `cos.${type}`, `sin.${type}`);
  }
  if (withImages) wanted.push('isImage');
  if (withImages && types.has('local')) wanted.push('bias.local');
  return new Map(wanted.map((name) => [name, common.get(name) as OrtTensor]));
}

/** Hands out aligned offsets in a block of memory. */
class Layout {
  sizeBytes = 0;

  take(bytes: number): number {
    const offset = this.sizeBytes;
    this.sizeBytes = Math.ceil((offset + bytes) / 64) * 64;
    return offset;
  }
}
