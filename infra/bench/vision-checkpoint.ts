import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseModelConfig } from '../../src/model/parse-config.ts';
import { expectedTensors } from '../../src/model/tensor-shapes.ts';
import type { ExpectedTensor } from '../../src/model/tensor-shapes.ts';
import { bytesOf } from './file-sink.ts';
import { configOf } from './random-checkpoint.ts';
import { createRandom } from './random.ts';
import { toBf16 } from './random-weights.ts';
import { fileTensor, writeSafetensors } from './safetensors-file.ts';
import type { TextShape } from './shapes.ts';

/**
 * Not Gemma's tower (27 layers, 1152 wide, 896 pixels), which takes minutes an image on two cores: a
 * thirtieth of its layers' work at a quarter of its patches. What it hands on has the true shape.
 */
const TOWER = {
  model_type: 'siglip_vision_model',
  hidden_size: 384,
  intermediate_size: 1536,
  num_hidden_layers: 6,
  num_attention_heads: 6,
  image_size: 448,
  patch_size: 14,
  vision_use_head: false,
} as const;

export const TOWER_TITLE = `a small vision tower (${TOWER.num_hidden_layers} layers, ${TOWER.hidden_size} wide, ${TOWER.image_size} pixels; Gemma's: 27, 1152, 896)`;
const TOKENS_PER_IMAGE = 256;
export const IMAGES = { imageSize: TOWER.image_size, tokensPerImage: TOKENS_PER_IMAGE } as const;

/** Among the special ids, of which no random prompt has any. */
const IMAGE_IDS = { boi_token_index: 4, eoi_token_index: 5, image_token_index: 6 } as const;
const FILE = 'vision.safetensors';
const INDEX = 'model.safetensors.index.json';

/**
 * The text model of `checkpoint` with a random vision tower before it, in a folder beside it that
 * links to the text model's files; written once.
 * @param checkpoint folder written by `writeRandomCheckpoint`
 * @returns the folder
 */
export function ensureVisionCheckpoint(checkpoint: string, shape: TextShape): string {
  const folder = join(checkpoint, '../with-vision');
  const config = visionConfigOf(shape);
  const index = readFileSync(join(checkpoint, INDEX), 'utf8');
  const manifestPath = join(folder, 'bench-vision.json');
  const manifest = JSON.stringify({ config, index });
  if (existsSync(manifestPath) && readFileSync(manifestPath, 'utf8') === manifest) return folder;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const { metadata, weight_map: textMap } = JSON.parse(index) as {
    readonly metadata: object;
    readonly weight_map: Readonly<Record<string, string>>;
  };
  for (const file of new Set(Object.values(textMap))) {
    symlinkSync(join('../checkpoint', file), join(folder, file));
  }
  const tensors = expectedTensors(parseModelConfig(config)).filter(
    ({ part }) => part === 'vision' || part === 'projector',
  );
  writeSafetensors(
    join(folder, FILE),
    tensors.map(({ name, shape: dimensions }) => fileTensor(storedName(name), 'BF16', dimensions)),
    (write) => {
      for (const tensor of tensors) write(bytesOf(valuesOf(tensor)));
    },
  );
  const visionMap = Object.fromEntries(tensors.map(({ name }) => [storedName(name), FILE]));
  const merged = { metadata, weight_map: { ...textMap, ...visionMap } };
  writeFileSync(join(folder, INDEX), JSON.stringify(merged));
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config, null, 2));
  writeFileSync(manifestPath, manifest);
  return folder;
}

function visionConfigOf(shape: TextShape): object {
  const { quantization_config: quantization, ...text } = configOf(shape);
  return {
    architectures: ['Gemma3ForConditionalGeneration'],
    model_type: 'gemma3',
    ...IMAGE_IDS,
    mm_tokens_per_image: TOKENS_PER_IMAGE,
    torch_dtype: 'bfloat16',
    text_config: text,
    vision_config: TOWER,
    quantization_config: {
      ...(quantization as object),
      modules_to_not_convert: ['vision_tower', 'multi_modal_projector'],
    },
  };
}

/** As transformers names it; the inverse of `canonicalName` for the parts written here. */
export function storedName(name: string): string {
  if (name === 'projector.weight') return 'multi_modal_projector.mm_input_projection_weight';
  if (name === 'projector.norm') return 'multi_modal_projector.mm_soft_emb_norm.weight';
  const path = name.replace(/^vision\./, '');
  if (path === 'position_embedding') return `${TOWER_PREFIX}embeddings.position_embedding.weight`;
  if (path.startsWith('patch_embedding')) return `${TOWER_PREFIX}embeddings.${path}`;
  return `${TOWER_PREFIX}${path.startsWith('layers.') ? `encoder.${path}` : path}`;
}

const TOWER_PREFIX = 'vision_tower.vision_model.';

/** bf16: around 1 for weights of norms, small for biases, and such that products keep their size. */
function valuesOf({ name, shape }: ExpectedTensor): Uint16Array {
  const size = shape.reduce((product, dimension) => product * dimension, 1);
  const words = new Uint32Array(size);
  createRandom(`bench vision/${name}`).draw(words);
  const center = /layer_?norm\d?\.weight$/.test(name) ? 1 : 0;
  const fanIn = shape.length === 1 ? 256 : size / (shape[0] ?? 1);
  // Uniform over an interval of length w deviates by w / sqrt(12).
  const width = Math.sqrt(12 / fanIn);
  return Uint16Array.from(words, (word) => toBf16(center + (word / 2 ** 32 - 0.5) * width));
}
