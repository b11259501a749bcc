/** A stored tensor's canonical name and which part of its tensor it is. */
export interface TensorName {
  /** As listed in src/weights/checkpoint.ts, without `.qweight`, `.qzeros` or `.scales`. */
  readonly name: string;
  readonly part: TensorPart;
}

/** value: a plain float tensor; the others are the three parts of an AWQ linear. */
export type TensorPart = 'value' | 'qweight' | 'qzeros' | 'scales';

/** Tensors whose stored name the layer patterns do not cover: path after the prefix -> canonical. */
const TEXT_NAMES: Readonly<Record<string, string>> = {
  'embed_tokens.weight': 'embed_tokens',
  'norm.weight': 'norm',
};
const PROJECTOR_NAMES: Readonly<Record<string, string>> = {
  mm_input_projection_weight: 'projector.weight',
  'mm_soft_emb_norm.weight': 'projector.norm',
};
const VISION_NAMES: Readonly<Record<string, string>> = {
  'embeddings.patch_embedding.weight': 'vision.patch_embedding.weight',
  'embeddings.patch_embedding.bias': 'vision.patch_embedding.bias',
  'embeddings.position_embedding.weight': 'vision.position_embedding',
  'post_layernorm.weight': 'vision.post_layernorm.weight',
  'post_layernorm.bias': 'vision.post_layernorm.bias',
};

const TEXT_LAYER =
  /^(layers\.\d+\.(?:self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj))\.(weight|qweight|qzeros|scales)$/;
const TEXT_LAYER_NORM =
  /^(layers\.\d+\.(?:input_layernorm|post_attention_layernorm|pre_feedforward_layernorm|post_feedforward_layernorm|self_attn\.[qk]_norm))\.weight$/;
const VISION_LAYER =
  /^encoder\.(layers\.\d+\.(?:layer_norm[12]|self_attn\.(?:[qkv]|out)_proj|mlp\.fc[12])\.(?:weight|bias))$/;
const HEAD = /^lm_head\.(weight|qweight|qzeros|scales)$/;

/**
 * The canonical name of a tensor as any checkpoint stores it: transformers 4.50 names, those of
 * 4.52 and later, text-only models, and vision towers without `vision_model`.
 * @returns null for tensors that Gemma 3 inference does not use
 */
export function canonicalName(stored: string): TensorName | null {
  // 4.52 and later wrap everything but the head in `model.`; text-only models always did.
  const path = stored.replace(
    /^model\.(?=language_model\.|vision_tower\.|multi_modal_projector\.)/,
    '',
  );

  if (path.startsWith('vision_tower.')) {
    return visionName(path.slice('vision_tower.'.length).replace(/^vision_model\./, ''));
  }
  if (path.startsWith('multi_modal_projector.')) {
    return value(lookUp(PROJECTOR_NAMES, path.slice('multi_modal_projector.'.length)));
  }
  const head = HEAD.exec(path.replace(/^language_model\./, ''));
  if (head !== null) return { name: 'lm_head', part: partOf(head[1]) };

  const text = /^(?:language_model\.model\.|language_model\.|model\.)(.+)$/.exec(path)?.[1];
  return text === undefined ? null : textName(text);
}

/** The name under which `Checkpoint.tensors` lists a part. */
export function listedName({ name, part }: TensorName): string {
  return part === 'value' ? name : `${name}.${part}`;
}

function textName(path: string): TensorName | null {
  const linear = TEXT_LAYER.exec(path);
  if (linear?.[1] !== undefined) return { name: linear[1], part: partOf(linear[2]) };
  return value(TEXT_LAYER_NORM.exec(path)?.[1] ?? lookUp(TEXT_NAMES, path));
}

function visionName(path: string): TensorName | null {
  const layer = VISION_LAYER.exec(path)?.[1];
  return value(layer === undefined ? lookUp(VISION_NAMES, path) : `vision.${layer}`);
}

function lookUp(names: Readonly<Record<string, string>>, path: string): string | undefined {
  return Object.hasOwn(names, path) ? names[path] : undefined;
}

function value(name: string | undefined): TensorName | null {
  return name === undefined ? null : { name, part: 'value' };
}

function partOf(suffix: string | undefined): TensorPart {
  return suffix === 'qweight' || suffix === 'qzeros' || suffix === 'scales' ? suffix : 'value';
}
