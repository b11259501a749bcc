import { describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import { hasTiedHead, parseModelConfig } from '../../src/model/parse-config.ts';
import type { ParseConfigOptions } from '../../src/model/parse-config.ts';
import { readJsonFile } from '../support/read-json.ts';

type Json = Record<string, unknown>;

const golden = (size: string): Json =>
  readJsonFile(`test/golden/configs/gemma-3-${size}.json`) as Json;
const with4bText = (change: Json): Json => {
  const config = golden('4b');
  return { ...config, text_config: { ...(config.text_config as Json), ...change } };
};
const scaleOf = (config: Json, options?: ParseConfigOptions): number =>
  parseModelConfig(config, options).text.embeddingScale;
const fault = (config: unknown, options?: ParseConfigOptions): ServeError => {
  try {
    parseModelConfig(config, options);
  } catch (error) {
    if (ServeError.is(error)) return error;
    throw error;
  }
  throw new Error('was accepted');
};

describe('parseModelConfig', () => {
  it.each([
    ['270m', 640, 18, 4, 1, 256, 2048, 256, 512, 1, 32_768, 262_144, 25.25, [5, 11, 17]],
    ['1b', 1152, 26, 4, 1, 256, 6912, 256, 512, 1, 32_768, 262_144, 34, [5, 11, 17, 23]],
    ['4b', 2560, 34, 8, 4, 256, 10_240, 256, 1024, 8, 131_072, 262_208, 50.5, [5, 11, 17, 23, 29]],
    [
      '12b',
      3840,
      48,
      16,
      8,
      256,
      15_360,
      256,
      1024,
      8,
      131_072,
      262_208,
      62,
      [5, 11, 17, 23, 29, 35, 41, 47],
    ],
    [
      '27b',
      5376,
      62,
      32,
      16,
      128,
      21_504,
      168,
      1024,
      8,
      131_072,
      262_208,
      73.5,
      [5, 11, 17, 23, 29, 35, 41, 47, 53, 59],
    ],
  ] as const)(
    'reads the %s model from a config with only non-default keys',
    (
      size,
      hidden,
      layers,
      heads,
      kvHeads,
      headDim,
      inner,
      scalar,
      window,
      factor,
      positions,
      vocab,
      scale,
      globals,
    ) => {
      const { text, vision } = parseModelConfig(golden(size));
      expect(text).toEqual({
        vocabSize: vocab,
        hiddenSize: hidden,
        layerCount: layers,
        headCount: heads,
        kvHeadCount: kvHeads,
        headDim,
        intermediateSize: inner,
        attentionScale: scalar ** -0.5,
        windowTokens: window,
        layerTypes: Array.from({ length: layers }, (_, i) =>
          (globals as readonly number[]).includes(i) ? 'global' : 'local',
        ),
        rmsNormEps: 1e-6,
        rope: { global: { theta: 1e6, factor }, local: { theta: 1e4, factor: 1 } },
        maxPositions: positions,
        embeddingScale: scale,
        attentionSoftcap: null,
        logitSoftcap: null,
        bosId: 2,
        padId: 0,
        eosIds: [1, 106],
      });
      expect(vision === null).toBe(size === '270m' || size === '1b');
      if (vision !== null) {
        expect(vision).toEqual({
          hiddenSize: 1152,
          layerCount: 27,
          headCount: 16,
          intermediateSize: 4304,
          imageSize: 896,
          patchSize: 14,
          layerNormEps: 1e-6,
          tokensPerImage: 256,
          beginImageId: 255_999,
          endImageId: 256_000,
          imageTokenId: 262_144,
        });
      }
    },
  );

  it('reads the same model from the transformers 5 dialect', () => {
    expect(parseModelConfig(golden('4b-transformers-5'))).toEqual(parseModelConfig(golden('4b')));
  });

  it('reads a flat transformers 5 text model whose rope has no factor', () => {
    const config = {
      ...golden('1b'),
      rope_parameters: {
        full_attention: { rope_theta: 2e6, rope_type: 'default' },
        sliding_attention: { rope_theta: 3e4, rope_type: 'default' },
      },
    };
    expect(parseModelConfig(config).text.rope).toEqual({
      global: { theta: 2e6, factor: 1 },
      local: { theta: 3e4, factor: 1 },
    });
  });

  it('lets layer_types win over the pattern, and honours another pattern', () => {
    const layer_types = Array.from({ length: 34 }, (_, i) =>
      i % 2 === 0 ? 'full_attention' : 'sliding_attention',
    );
    const listed = parseModelConfig(with4bText({ layer_types, sliding_window_pattern: 6 }));
    expect(listed.text.layerTypes.slice(0, 3)).toEqual(['global', 'local', 'global']);
    const every2 = parseModelConfig(with4bText({ sliding_window_pattern: 2 }));
    expect(every2.text.layerTypes.slice(0, 4)).toEqual(['local', 'global', 'local', 'global']);
  });

  it('treats null as absent', () => {
    const config = with4bText({ final_logit_softcapping: null, layer_types: null, head_dim: null });
    expect(parseModelConfig(config)).toEqual(parseModelConfig(golden('4b')));
  });

  it('keeps softcaps that a config sets', () => {
    const { text } = parseModelConfig(
      with4bText({ attn_logit_softcapping: 50, final_logit_softcapping: 30.5 }),
    );
    expect([text.attentionSoftcap, text.logitSoftcap]).toEqual([50, 30.5]);
  });

  it('takes end-of-sequence ids from generation_config, then the top level, then the text model', () => {
    const generationConfig = { eos_token_id: [106, 1, 106, 50] };
    expect(parseModelConfig(golden('4b'), { generationConfig }).text.eosIds).toEqual([106, 1, 50]);
    expect(parseModelConfig(golden('4b'), { generationConfig: {} }).text.eosIds).toEqual([1, 106]);
    const nested = { ...with4bText({ eos_token_id: 7 }), eos_token_id: undefined };
    expect(parseModelConfig(nested).text.eosIds).toEqual([7]);
  });

  it('rounds the embedding scale to the dtype the config names, else to that of the stored table', () => {
    const unnamed = { ...golden('27b'), torch_dtype: undefined };
    expect(scaleOf({ ...golden('27b'), torch_dtype: 'float32' })).toBe(
      Math.fround(Math.sqrt(5376)),
    );
    expect(scaleOf({ ...golden('27b'), torch_dtype: 'float16' })).toBe(73.3125);
    expect(scaleOf(unnamed)).toBe(73.5);
    expect(scaleOf(unnamed, { embeddingDtype: 'float16' })).toBe(73.3125);
    expect(scaleOf(golden('27b'), { embeddingDtype: 'float16' })).toBe(73.5);
  });

  it.each(['gemma2', 'gemma3n', 'gemma', 'llama', 'qwen2', 'paligemma'])(
    'refuses %s by name and says what to take',
    (model_type) => {
      const error = fault({ model_type, architectures: ['X'] });
      expect(error.code).toBe('unsupported_model');
      expect(error.message).toContain(`describes ${model_type}`);
      expect(error.message).toContain('google/gemma-3');
    },
  );

  it('refuses embedding models built on Gemma 3', () => {
    const embedding = { ...golden('1b'), architectures: ['Gemma3TextModel'] };
    expect(fault(embedding).message).toContain('Gemma3TextModel');
    const bidirectional = { ...golden('1b'), use_bidirectional_attention: true };
    expect(fault(bidirectional).message).toContain('use_bidirectional_attention');
  });

  it.each([
    [{ quant_method: 'compressed-tensors' }, 'compressed-tensors'],
    [{ quant_method: 'gptq', bits: 4 }, 'GPTQ'],
    [{ quant_method: 'bitsandbytes' }, 'bitsandbytes'],
    [{ quant_method: 'gguf' }, 'GGUF'],
    [{ quant_method: 'brand-new' }, 'brand-new'],
    [{ quant_method: 'awq', bits: 8, version: 'gemm' }, 'quantization_config.bits'],
    [{ quant_method: 'awq', w_bit: 3 }, 'quantization_config.w_bit'],
    [{ quant_method: 'awq', bits: 4, version: 'gemv' }, 'quantization_config.version'],
  ])('refuses quantisation %j by name', (quantization_config, name) => {
    const error = fault({ ...golden('4b'), quantization_config });
    expect(error.code).toBe('unsupported_model');
    expect(error.message).toContain(name);
    expect(error.message).toContain('gemlet reads AWQ');
  });

  it('accepts AWQ in both spellings of its settings', () => {
    for (const quantization_config of [
      { quant_method: 'awq', bits: 4, group_size: 32, zero_point: true, version: 'gemm' },
      { w_bit: 4, q_group_size: 128, version: 'GEMM' },
    ]) {
      parseModelConfig({ ...golden('4b'), quantization_config });
    }
  });

  it.each([
    [{ hidden_size: '2560' }, 'config.json: text_config.hidden_size'],
    [{ hidden_size: 2560.5 }, 'config.json: text_config.hidden_size'],
    [{ num_hidden_layers: 0 }, 'config.json: text_config.num_hidden_layers'],
    [{ num_key_value_heads: 3 }, 'config.json: text_config.num_key_value_heads'],
    [{ head_dim: 255 }, 'config.json: text_config.head_dim'],
    [{ query_pre_attn_scalar: 0 }, 'config.json: text_config.query_pre_attn_scalar'],
    [{ hidden_activation: 'silu' }, 'config.json: text_config.hidden_activation'],
    [{ attention_bias: true }, 'config.json: text_config.attention_bias'],
    [{ layer_types: ['full_attention'] }, 'config.json: text_config.layer_types'],
    [{ layer_types: Array(34).fill('chunked_attention') }, 'config.json: text_config.layer_types'],
    [{ rope_scaling: { rope_type: 'yarn', factor: 4 } }, 'config.json: text_config.rope_scaling'],
    [{ rope_scaling: { type: 'linear' } }, 'config.json: text_config.rope_scaling.factor'],
    [
      { rope_parameters: { full_attention: { rope_type: 'llama3' } } },
      'config.json: text_config.rope_parameters.full_attention.rope_type',
    ],
  ])('names the key of a bad text value: %j', (change, key) => {
    expect(fault(with4bText(change)).message).toContain(key);
  });

  it.each([
    [{ patch_size: 15 }, {}, 'config.json: vision_config.patch_size'],
    [{ num_attention_heads: 5 }, {}, 'config.json: vision_config.num_attention_heads'],
    [{ model_type: 'clip_vision_model' }, {}, 'config.json: vision_config.model_type'],
    [{ hidden_act: 'gelu' }, {}, 'config.json: vision_config.hidden_act'],
    [{ num_channels: 1 }, {}, 'config.json: vision_config.num_channels'],
    [{}, { mm_tokens_per_image: 250 }, 'config.json: mm_tokens_per_image'],
    [{}, { mm_tokens_per_image: 225 }, 'config.json: mm_tokens_per_image'],
    [{}, { image_token_index: 262_208 }, 'config.json: image_token_index'],
  ])('names the key of a bad vision value: %j %j', (vision, top, key) => {
    const config = golden('4b');
    const vision_config = { ...(config.vision_config as Json), ...vision };
    expect(fault({ ...config, ...top, vision_config }).message).toContain(key);
  });

  it('refuses what is not an object', () => {
    expect(fault([]).code).toBe('invalid_checkpoint');
    expect(fault({ ...golden('4b'), text_config: 3 }).message).toContain('text_config');
    expect(fault(golden('4b'), { generationConfig: 'x' }).message).toContain('generation_config');
  });
});

describe('hasTiedHead', () => {
  it('is true unless a config says otherwise', () => {
    expect(hasTiedHead(golden('4b'))).toBe(true);
    expect(hasTiedHead({ ...golden('4b'), tie_word_embeddings: false })).toBe(false);
    expect(hasTiedHead(with4bText({ tie_word_embeddings: false }))).toBe(false);
  });
});
