import { createRandom } from './random.ts';
import { GROUP_SIZE } from './shapes.ts';
import type { TextShape } from './shapes.ts';

/**
 * Random weights with the magnitudes of a trained model, described once and written twice: as a
 * Hugging Face AWQ folder and as GGUF. Every value is exact in both formats, so that two engines
 * that load them hold the same numbers: scales are bf16 values that fp16 also holds, embeddings
 * are an int8 grid with a power of two as its step.
 *
 * Each tensor has its own stream of random bits (seed and name), so any of them can be made again
 * alone, and memory stays bounded by the largest one.
 */
export type WeightTensor = LinearTensor | NormTensor | EmbeddingTensor;

export interface LinearTensor {
  readonly type: 'linear';
  /** Canonical name, such as `layers.0.self_attn.q_proj`. */
  readonly name: string;
  readonly outFeatures: number;
  readonly inFeatures: number;
  make(): LinearWeights;
}

export interface LinearWeights {
  /**
   * [inFeatures, outFeatures / 8] in AutoAWQ's order: nibble p of word c is output
   * 8c + AWQ_ORDER[p]; value (nibble - 8) * scale, nibbles 1..15.
   */
  readonly words: Uint32Array;
  /** [inFeatures / 32, outFeatures], bf16 */
  readonly scales: Uint16Array;
}

export interface NormTensor {
  readonly type: 'norm';
  readonly name: string;
  readonly size: number;
  /** [size], bf16: the stored weight w; the layer multiplies by 1 + w */
  make(): Uint16Array;
}

export interface EmbeddingTensor {
  readonly type: 'embedding';
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  /** Rows of one block; the last block may be shorter. */
  readonly blockRows: number;
  make(block: number): EmbeddingBlock;
}

export interface EmbeddingBlock {
  readonly rows: number;
  /** [rows, columns], -127..127; each group of 32 holds a 127 or -127 */
  readonly values: Int8Array;
  /** [rows, columns / 32]: value = values * 2^exponent */
  readonly exponents: Int8Array;
}

export const AWQ_ORDER: readonly number[] = [0, 2, 4, 6, 1, 3, 5, 7];

const BLOCK_ROWS = 1024;

/** Standard deviation of a nibble: uniform over -7..7 with 0 twice as likely. */
const NIBBLE_DEVIATION = Math.sqrt(280 / 16);

/** Of uniform -127..127. */
const BYTE_DEVIATION = 73;

/**
 * Deviation of a scaled embedding, well under the branches it is added to: otherwise the
 * likeliest next token would be the last one, whatever came before.
 */
const EMBEDDING_DEVIATION = 0.3;

/** All tensors of `shape`, in file order. */
export function* randomWeights(shape: TextShape, seed: string): Generator<WeightTensor> {
  const hidden = shape.hiddenSize;
  const queries = shape.headCount * shape.headDim;
  const keys = shape.kvHeadCount * shape.headDim;
  const inner = shape.intermediateSize;
  yield embedding('embed_tokens', shape.vocabSize, hidden, seed);
  for (let layer = 0; layer < shape.layerCount; layer += 1) {
    const prefix = `layers.${layer}.`;
    yield norm(`${prefix}input_layernorm`, hidden, 0, seed);
    yield linear(`${prefix}self_attn.q_proj`, queries, hidden, seed);
    yield linear(`${prefix}self_attn.k_proj`, keys, hidden, seed);
    yield linear(`${prefix}self_attn.v_proj`, keys, hidden, seed);
    yield linear(`${prefix}self_attn.o_proj`, hidden, queries, seed);
    yield norm(`${prefix}self_attn.q_norm`, shape.headDim, 0, seed);
    yield norm(`${prefix}self_attn.k_norm`, shape.headDim, 0, seed);
    yield norm(`${prefix}post_attention_layernorm`, hidden, 0, seed);
    yield norm(`${prefix}pre_feedforward_layernorm`, hidden, 0, seed);
    yield linear(`${prefix}mlp.gate_proj`, inner, hidden, seed);
    yield linear(`${prefix}mlp.up_proj`, inner, hidden, seed);
    yield linear(`${prefix}mlp.down_proj`, hidden, inner, seed);
    yield norm(`${prefix}post_feedforward_layernorm`, hidden, 0, seed);
  }
  // The head is the small embedding: this brings logits to a deviation of about 5.
  yield norm('norm', hidden, 9, seed);
}

function linear(name: string, outFeatures: number, inFeatures: number, seed: string): LinearTensor {
  return {
    type: 'linear',
    name,
    outFeatures,
    inFeatures,
    make: () => {
      const random = createRandom(`${seed}/${name}`);
      const words = new Uint32Array((inFeatures * outFeatures) / 8);
      random.draw(words);
      for (let i = 0; i < words.length; i += 1) {
        const word = words[i] ?? 0;
        // One bit a nibble that is 0, moved to bit 3: 0 becomes 8, the symmetric middle.
        const zeros = ~(word | (word >>> 1) | (word >>> 2) | (word >>> 3)) & 0x11111111;
        words[i] = word | (zeros << 3);
      }
      const noise = new Uint32Array((inFeatures / GROUP_SIZE) * outFeatures);
      random.draw(noise);
      const scales = new Uint16Array(noise.length);
      const base = 1 / (NIBBLE_DEVIATION * Math.sqrt(inFeatures));
      for (let i = 0; i < noise.length; i += 1) {
        scales[i] = toBf16(base * (0.5 + unit(noise[i] ?? 0)));
      }
      return { words, scales };
    },
  };
}

function norm(name: string, size: number, center: number, seed: string): NormTensor {
  return {
    type: 'norm',
    name,
    size,
    make: () => {
      const noise = new Uint32Array(size);
      createRandom(`${seed}/${name}`).draw(noise);
      return Uint16Array.from(noise, (word) => toBf16(center + (unit(word) - 0.5) / 4));
    },
  };
}

function embedding(name: string, rows: number, columns: number, seed: string): EmbeddingTensor {
  const step = EMBEDDING_DEVIATION / (Math.sqrt(columns) * BYTE_DEVIATION);
  // fp16 holds powers of two down to 2^-14 as normal numbers.
  const exponent = Math.max(-14, Math.round(Math.log2(step)));
  return {
    type: 'embedding',
    name,
    rows,
    columns,
    blockRows: BLOCK_ROWS,
    make: (block) => {
      const blockRows = Math.min(BLOCK_ROWS, rows - block * BLOCK_ROWS);
      const groups = (blockRows * columns) / GROUP_SIZE;
      const random = createRandom(`${seed}/${name}/${block}`);
      const noise = new Uint32Array(groups * (GROUP_SIZE / 4));
      random.draw(noise);
      const values = new Int8Array(noise.buffer);
      const choices = new Uint32Array(groups);
      random.draw(choices);
      const exponents = new Int8Array(groups);
      for (let i = 0; i < values.length; i += 1) {
        if (values[i] === -128) values[i] = 0;
      }
      for (let group = 0; group < groups; group += 1) {
        const choice = choices[group] ?? 0;
        exponents[group] = exponent + ((choice >>> 8) & 1);
        // An engine that derives int8 from the largest value of a group finds these very numbers.
        values[group * GROUP_SIZE + (choice & 31)] = (choice & 32) === 0 ? 127 : -127;
      }
      return { rows: blockRows, values, exponents };
    },
  };
}

/** 0 <= result < 1 */
function unit(word: number): number {
  return word / 0x1_0000_0000;
}

const FLOAT = new Float32Array(1);
const BITS = new Uint32Array(FLOAT.buffer);

/** Nearest bf16, ties to even; finite values only. */
export function toBf16(value: number): number {
  FLOAT[0] = value;
  const bits = BITS[0] ?? 0;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

export function fromBf16(bits: number): number {
  BITS[0] = bits << 16;
  return FLOAT[0] ?? 0;
}

/**
 * The same number as fp16 bits.
 * @throws RangeError when fp16 cannot hold it exactly as a normal number
 */
export function bf16ToFp16(bits: number): number {
  const exponent = ((bits >>> 7) & 0xff) - 127 + 15;
  if (exponent <= 0 || exponent >= 31) {
    throw new RangeError(`fp16 does not hold ${fromBf16(bits)} exactly`);
  }
  return ((bits >>> 15) << 15) | (exponent << 10) | ((bits & 0x7f) << 3);
}
