import { join } from 'node:path';
import { bytesOf } from '../../infra/bench/file-sink.ts';
import {
  count,
  float,
  string,
  writeGguf,
  type GgufTensor,
  type GgufValue,
} from '../../infra/bench/gguf-writer.ts';
import { ggufName, modelMetadata } from '../../infra/bench/random-gguf.ts';
import { createFolderSource } from '../../adapters/node/folder-source.ts';
import { demoModelFolder } from '../../adapters/node/open-source.ts';
import type { TextConfig, VisionConfig } from '../../src/model/config.ts';
import { expectedTensors, type ExpectedTensor } from '../../src/model/tensor-shapes.ts';
import { parseTokenizerJson } from '../../src/prompt/tokenizer-json.ts';
import type { Checkpoint } from '../../src/weights/checkpoint.ts';
import { openCheckpoint } from '../../src/weights/open-checkpoint.ts';
import { readDemoFile, readDemoJson } from '../support/demo-model.ts';
import { dequantize } from '../support/dequantize.ts';

export interface DemoGguf {
  readonly model: string;
  /** What llama.cpp calls the file of the vision tower. */
  readonly mmproj: string;
}

/** Writes the demo model for llama.cpp into `folder`, every weight as the fp32 number that it stands for. */
export async function writeDemoGguf(folder: string): Promise<DemoGguf> {
  const checkpoint = await openCheckpoint(createFolderSource(demoModelFolder()));
  try {
    const { config } = checkpoint;
    if (config.vision === null) throw new Error('the demo model sees');
    const model = join(folder, 'demo.gguf');
    const mmproj = join(folder, 'mmproj.gguf');
    const expected = expectedTensors(config);
    const text = expected.filter((tensor) => !isVision(tensor));
    const metadata = new Map([...textMetadata(config.text), ...vocabulary(config.text)]);
    writeGguf(model, metadata, await tensorsOf(checkpoint, text, textName));
    const vision = visionMetadata(config.vision, config.text.hiddenSize);
    writeGguf(mmproj, vision, await tensorsOf(checkpoint, expected.filter(isVision), visionName));
    return { model, mmproj };
  } finally {
    await checkpoint.close();
  }
}

function isVision({ part }: ExpectedTensor): boolean {
  return part === 'vision' || part === 'projector';
}

async function tensorsOf(
  checkpoint: Checkpoint,
  expected: readonly ExpectedTensor[],
  nameOf: (name: string) => string,
): Promise<readonly GgufTensor[]> {
  const tensors: GgufTensor[] = [];
  for (const { name, shape, kind } of expected) {
    const values = await (kind === 'linear'
      ? dequantize(checkpoint, name)
      : checkpoint.readFloats(name));
    // Gemma multiplies by one plus the weight; the vision tower's norms are of another kind.
    const isShifted = name.endsWith('norm');
    const stored = isShifted ? values.map((value) => 1 + value) : values;
    tensors.push({
      name: nameOf(name),
      dimensions: shape.toReversed(),
      dtype: 'F32',
      write: (sink) => sink(bytesOf(stored)),
    });
  }
  return tensors;
}

function textName(name: string): string {
  return `${ggufName(name)}.weight`;
}

const VISION_NAMES: Readonly<Record<string, string>> = {
  'vision.patch_embedding.weight': 'v.patch_embd.weight',
  'vision.patch_embedding.bias': 'v.patch_embd.bias',
  'vision.position_embedding': 'v.position_embd.weight',
  'vision.post_layernorm.weight': 'v.post_ln.weight',
  'vision.post_layernorm.bias': 'v.post_ln.bias',
  'projector.norm': 'mm.soft_emb_norm.weight',
  'projector.weight': 'mm.input_projection.weight',
};

const VISION_LAYER_NAMES: Readonly<Record<string, string>> = {
  layer_norm1: 'ln1',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.out_proj': 'attn_out',
  layer_norm2: 'ln2',
  'mlp.fc1': 'ffn_up',
  'mlp.fc2': 'ffn_down',
};

function visionName(name: string): string {
  const known = VISION_NAMES[name];
  if (known !== undefined) return known;
  const [, layer, part = '', kind] =
    /^vision\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? [];
  return `v.blk.${layer}.${VISION_LAYER_NAMES[part]}.${kind}`;
}

function textMetadata(text: TextConfig): ReadonlyMap<string, GgufValue> {
  return modelMetadata({ ...text, name: 'demo', ropeFactor: text.rope.global.factor }, 'gemlet');
}

/** llama.cpp's token types. */
const TOKEN_TYPES = { normal: 1, unknown: 2, control: 3, userDefined: 4, byte: 6 } as const;

/** llama.cpp joins the pair whose joined piece has the highest score: the one that is merged first. */
function vocabulary({ vocabSize, bosId, padId }: TextConfig): ReadonlyMap<string, GgufValue> {
  const { vocab, merges, addedTokens } = parseTokenizerJson(readDemoFile('tokenizer.json'));
  const tokens = Array.from({ length: vocabSize }, (_, id) => `[unused ${id}]`);
  const types = new Int32Array(vocabSize).fill(TOKEN_TYPES.normal);
  const scores = new Float32Array(vocabSize).fill(-1e4);
  for (const [spelling, id] of vocab) {
    tokens[id] = spelling;
    if (/^<0x[0-9A-F]{2}>$/.test(spelling)) types[id] = TOKEN_TYPES.byte;
  }
  for (const [rank, [left, right]] of merges.entries()) {
    const id = vocab.get(left + right) ?? 0;
    scores[id] = Math.max(scores[id] ?? 0, -rank);
  }
  for (const { id, content, special } of addedTokens) {
    tokens[id] = content;
    types[id] = special ? TOKEN_TYPES.control : TOKEN_TYPES.userDefined;
  }
  const unknown = vocab.get('<unk>') ?? 0;
  types[unknown] = TOKEN_TYPES.unknown;
  const { chat_template: template } = readDemoJson('tokenizer_config.json') as {
    readonly chat_template: string;
  };
  return new Map<string, GgufValue>([
    ['tokenizer.ggml.model', string('llama')],
    ['tokenizer.ggml.pre', string('default')],
    ['tokenizer.ggml.tokens', { type: 'strings', value: tokens }],
    ['tokenizer.ggml.scores', { type: 'float32s', value: scores }],
    ['tokenizer.ggml.token_type', { type: 'int32s', value: types }],
    ['tokenizer.ggml.bos_token_id', count(bosId)],
    ['tokenizer.ggml.eos_token_id', count(vocab.get('<eos>') ?? 0)],
    ['tokenizer.ggml.padding_token_id', count(padId)],
    ['tokenizer.ggml.unknown_token_id', count(unknown)],
    ['tokenizer.ggml.add_bos_token', { type: 'bool', value: true }],
    ['tokenizer.ggml.add_space_prefix', { type: 'bool', value: false }],
    ['tokenizer.chat_template', string(template)],
  ]);
}

function visionMetadata(vision: VisionConfig, textWidth: number): ReadonlyMap<string, GgufValue> {
  const { image_mean: mean, image_std: deviation } = readDemoJson('preprocessor_config.json') as {
    readonly image_mean: readonly number[];
    readonly image_std: readonly number[];
  };
  const side = vision.imageSize / vision.patchSize;
  return new Map<string, GgufValue>([
    ['general.architecture', string('clip')],
    ['clip.projector_type', string('gemma3')],
    ['clip.has_vision_encoder', { type: 'bool', value: true }],
    ['clip.use_gelu', { type: 'bool', value: true }],
    ['clip.vision.image_size', count(vision.imageSize)],
    ['clip.vision.patch_size', count(vision.patchSize)],
    ['clip.vision.embedding_length', count(vision.hiddenSize)],
    ['clip.vision.feed_forward_length', count(vision.intermediateSize)],
    ['clip.vision.projection_dim', count(textWidth)],
    ['clip.vision.block_count', count(vision.layerCount)],
    ['clip.vision.attention.head_count', count(vision.headCount)],
    ['clip.vision.attention.layer_norm_epsilon', float(vision.layerNormEps)],
    ['clip.vision.projector.scale_factor', count(side / Math.sqrt(vision.tokensPerImage))],
    ['clip.vision.image_mean', { type: 'float32s', value: Float32Array.from(mean) }],
    ['clip.vision.image_std', { type: 'float32s', value: Float32Array.from(deviation) }],
  ]);
}
