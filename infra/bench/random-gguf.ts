import { bytesOf } from './file-sink.ts';
import { count, float, string, writeGguf } from './gguf-writer.ts';
import type { GgufTensor, GgufValue } from './gguf-writer.ts';
import { AWQ_ORDER, bf16ToFp16, fromBf16, randomWeights } from './random-weights.ts';
import type { EmbeddingTensor, LinearTensor, NormTensor, WeightTensor } from './random-weights.ts';
import { GROUP_SIZE } from './shapes.ts';
import type { TextShape } from './shapes.ts';

const Q4_0_BYTES = 18;
const Q8_0_BYTES = 34;

/** llama.cpp's names for the parts of a layer. */
const LAYER_NAMES: Readonly<Record<string, string>> = {
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  post_attention_layernorm: 'post_attention_norm',
  pre_feedforward_layernorm: 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  post_feedforward_layernorm: 'post_ffw_norm',
};

/**
 * Writes the weights of `writeRandomCheckpoint` with the same seed for llama.cpp: Q4_0 linears,
 * Q8_0 embedding (which is also the head), fp32 norms, and a vocabulary of made-up words, since
 * the benchmarks speak token ids.
 */
export function writeRandomGguf(path: string, shape: TextShape, seed: string): void {
  const metadata = new Map([
    ...modelMetadata(shape, `random weights, ${shape.name}`),
    ...madeUpVocabulary(shape.vocabSize),
  ]);
  writeGguf(path, metadata, [...randomWeights(shape, seed)].map(toGguf));
}

/** What llama.cpp has to know of the text model; without its vocabulary. */
export function modelMetadata(
  shape: Omit<TextShape, 'title'>,
  name: string,
): ReadonlyMap<string, GgufValue> {
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', string('gemma3')],
    ['general.name', string(name)],
    ['gemma3.context_length', count(shape.maxPositions)],
    ['gemma3.block_count', count(shape.layerCount)],
    ['gemma3.embedding_length', count(shape.hiddenSize)],
    ['gemma3.feed_forward_length', count(shape.intermediateSize)],
    ['gemma3.attention.head_count', count(shape.headCount)],
    ['gemma3.attention.head_count_kv', count(shape.kvHeadCount)],
    ['gemma3.attention.key_length', count(shape.headDim)],
    ['gemma3.attention.value_length', count(shape.headDim)],
    ['gemma3.attention.layer_norm_rms_epsilon', float(1e-6)],
    ['gemma3.attention.sliding_window', count(shape.windowTokens)],
    ['gemma3.rope.freq_base', float(1e6)],
  ]);
  if (shape.ropeFactor !== 1) {
    metadata.set('gemma3.rope.scaling.type', string('linear'));
    metadata.set('gemma3.rope.scaling.factor', float(shape.ropeFactor));
  }
  return metadata;
}

function madeUpVocabulary(vocabSize: number): ReadonlyMap<string, GgufValue> {
  return new Map<string, GgufValue>([
    ['tokenizer.ggml.model', string('llama')],
    ['tokenizer.ggml.tokens', { type: 'strings', value: words(vocabSize) }],
    ['tokenizer.ggml.scores', { type: 'float32s', value: new Float32Array(vocabSize) }],
    ['tokenizer.ggml.token_type', { type: 'int32s', value: wordTypes(vocabSize) }],
    ['tokenizer.ggml.bos_token_id', count(2)],
    ['tokenizer.ggml.eos_token_id', count(1)],
    ['tokenizer.ggml.padding_token_id', count(0)],
    ['tokenizer.ggml.unknown_token_id', count(3)],
  ]);
}

const SPECIAL_WORDS = ['<pad>', '<eos>', '<bos>', '<unk>'];

/** Special words, one word a byte (llama.cpp looks for the line feed), then fillers. */
function words(vocabSize: number): string[] {
  return Array.from({ length: vocabSize }, (_, id) => {
    const byte = id - SPECIAL_WORDS.length;
    if (byte >= 0 && byte < 256) {
      return `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
    }
    return SPECIAL_WORDS[id] ?? `w${id}`;
  });
}

/** llama.cpp's token types: 1 normal, 2 unknown, 3 control, 6 byte. */
function wordTypes(vocabSize: number): Int32Array {
  const types = new Int32Array(vocabSize).fill(1);
  types.fill(6, SPECIAL_WORDS.length, SPECIAL_WORDS.length + 256);
  types.set([3, 3, 3, 2]);
  return types;
}

function toGguf(weight: WeightTensor): GgufTensor {
  const name = `${ggufName(weight.name)}.weight`;
  if (weight.type === 'norm') {
    return {
      name,
      dimensions: [weight.size],
      dtype: 'F32',
      write: (sink) => sink(bytesOf(normValues(weight))),
    };
  }
  if (weight.type === 'linear') {
    return {
      name,
      dimensions: [weight.inFeatures, weight.outFeatures],
      dtype: 'Q4_0',
      write: (sink) => sink(packQ4(weight)),
    };
  }
  return {
    name,
    dimensions: [weight.columns, weight.rows],
    dtype: 'Q8_0',
    write: (sink) => {
      for (let block = 0; block * weight.blockRows < weight.rows; block += 1) {
        sink(packQ8(weight, block));
      }
    },
  };
}

/** llama.cpp's name of a tensor, without `.weight` at its end. */
export function ggufName(name: string): string {
  if (name === 'embed_tokens') return 'token_embd';
  if (name === 'norm') return 'output_norm';
  const match = /^layers\.(\d+)\.(.+)$/.exec(name);
  const part = LAYER_NAMES[match?.[2] ?? ''];
  if (match === null || part === undefined) throw new RangeError(`no GGUF name for ${name}`);
  return `blk.${match[1]}.${part}`;
}

/** llama.cpp multiplies by the stored weight, Gemma by one plus it. */
function normValues(tensor: NormTensor): Float32Array {
  return Float32Array.from(tensor.make(), (bits) => 1 + fromBf16(bits));
}

/**
 * [outFeatures, inFeatures / 32] blocks: fp16 scale, then byte i with input i in its low and
 * input i + 16 in its high nibble.
 */
function packQ4(tensor: LinearTensor): Uint8Array {
  const { words: packed, scales } = tensor.make();
  const outWords = tensor.outFeatures / 8;
  const groups = tensor.inFeatures / GROUP_SIZE;
  const out = new Uint8Array(tensor.outFeatures * groups * Q4_0_BYTES);
  for (let group = 0; group < groups; group += 1) {
    for (let column = 0; column < tensor.outFeatures; column += 1) {
      const scale = bf16ToFp16(scales[group * tensor.outFeatures + column] ?? 0);
      const at = (column * groups + group) * Q4_0_BYTES;
      out[at] = scale & 0xff;
      out[at + 1] = scale >>> 8;
    }
    for (let i = 0; i < 16; i += 1) {
      const lowRow = (group * GROUP_SIZE + i) * outWords;
      const highRow = lowRow + 16 * outWords;
      for (let word = 0; word < outWords; word += 1) {
        const low = packed[lowRow + word] ?? 0;
        const high = packed[highRow + word] ?? 0;
        for (let p = 0; p < 8; p += 1) {
          const column = word * 8 + (AWQ_ORDER[p] ?? 0);
          const at = (column * groups + group) * Q4_0_BYTES + 2 + i;
          out[at] = ((low >>> (4 * p)) & 15) | (((high >>> (4 * p)) & 15) << 4);
        }
      }
    }
  }
  return out;
}

/** [rows, columns / 32] blocks: fp16 scale, then 32 signed bytes. */
function packQ8(tensor: EmbeddingTensor, block: number): Uint8Array {
  const { values, exponents } = tensor.make(block);
  const bytes = bytesOf(values);
  const out = new Uint8Array(exponents.length * Q8_0_BYTES);
  for (let group = 0; group < exponents.length; group += 1) {
    const at = group * Q8_0_BYTES;
    const scale = ((exponents[group] ?? 0) + 15) << 10;
    out[at] = scale & 0xff;
    out[at + 1] = scale >>> 8;
    out.set(bytes.subarray(group * GROUP_SIZE, (group + 1) * GROUP_SIZE), at + 2);
  }
  return out;
}
