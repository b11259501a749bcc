import { parseModelConfig } from '../../src/model/parse-config.ts';
import type { ModelConfig } from '../../src/model/config.ts';
import { createTokenizer } from '../../src/prompt/bpe-tokenizer.ts';
import { buildVocabulary } from '../../src/prompt/build-vocabulary.ts';
import type { Tokenizer } from '../../src/prompt/tokenizer.ts';
import { loadVocabulary } from '../../src/prompt/vocabulary.ts';
import { FIRST_PIECE, tokenizerJson } from './tokenizer-json.ts';

/** A model small enough for the fake backend, as the files of its bundle. */
export interface EdgeModelFiles {
  readonly files: Readonly<Record<string, Uint8Array>>;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
}

/** Every other character is its bytes. */
const PIECES = ['\u2581'];
const IMAGE_ID = FIRST_PIECE + PIECES.length;

export async function createEdgeModelFiles(maxPositions: number): Promise<EdgeModelFiles> {
  const config = configJson(maxPositions);
  const vocabulary = await buildVocabulary(json(tokenizerJson({ pieces: PIECES })));
  return {
    files: {
      'config.json': json(config),
      'generation_config.json': json({ eos_token_id: [1, 5], max_new_tokens: 20 }),
      'preprocessor_config.json': json({}),
      'vocabulary.bin': vocabulary,
    },
    config: parseModelConfig(config, { generationConfig: { eos_token_id: [1, 5] } }),
    tokenizer: createTokenizer(loadVocabulary(vocabulary)),
  };
}

/** As Hugging Face writes it. */
function configJson(maxPositions: number): object {
  return {
    model_type: 'gemma3',
    mm_tokens_per_image: 4,
    boi_token_index: 6,
    eoi_token_index: 7,
    image_token_index: IMAGE_ID,
    eos_token_id: [1, 5],
    text_config: {
      model_type: 'gemma3_text',
      vocab_size: 300,
      hidden_size: 8,
      intermediate_size: 16,
      num_hidden_layers: 2,
      num_attention_heads: 1,
      num_key_value_heads: 1,
      head_dim: 8,
      query_pre_attn_scalar: 8,
      sliding_window: 32,
      sliding_window_pattern: 2,
      max_position_embeddings: maxPositions,
      bos_token_id: 2,
      pad_token_id: 0,
    },
    vision_config: {
      model_type: 'siglip_vision_model',
      hidden_size: 8,
      intermediate_size: 16,
      num_hidden_layers: 1,
      num_attention_heads: 1,
      image_size: 8,
      patch_size: 4,
      vision_use_head: false,
    },
  };
}

function json(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}
