import { describe, expect, it } from 'vitest';
import { canonicalName, listedName } from '../../src/model/tensor-names.ts';

const listed = (stored: string): string | null => {
  const name = canonicalName(stored);
  return name === null ? null : listedName(name);
};

describe('canonicalName', () => {
  it.each([
    ['language_model.model.', 'before transformers 4.52, and what is saved since'],
    ['model.language_model.', 'in memory since 4.52'],
    ['language_model.', 'without the wrapper'],
    ['model.', 'text only'],
  ])('reads text tensors under %s (%s)', (prefix) => {
    expect(listed(`${prefix}embed_tokens.weight`)).toBe('embed_tokens');
    expect(listed(`${prefix}norm.weight`)).toBe('norm');
    for (const norm of [
      'input_layernorm',
      'post_attention_layernorm',
      'pre_feedforward_layernorm',
      'post_feedforward_layernorm',
      'self_attn.q_norm',
      'self_attn.k_norm',
    ]) {
      expect(listed(`${prefix}layers.61.${norm}.weight`)).toBe(`layers.61.${norm}`);
    }
    for (const linear of [
      'self_attn.q_proj',
      'self_attn.o_proj',
      'mlp.gate_proj',
      'mlp.down_proj',
    ]) {
      const canonical = `layers.0.${linear}`;
      expect(canonicalName(`${prefix}${canonical}.weight`)).toEqual({
        name: canonical,
        part: 'value',
      });
      for (const part of ['qweight', 'qzeros', 'scales']) {
        expect(canonicalName(`${prefix}${canonical}.${part}`)).toEqual({ name: canonical, part });
        expect(listed(`${prefix}${canonical}.${part}`)).toBe(`${canonical}.${part}`);
      }
    }
  });

  it.each([
    'vision_tower.vision_model.',
    'model.vision_tower.vision_model.',
    'model.vision_tower.',
    'vision_tower.',
  ])('reads vision tensors under %s', (prefix) => {
    expect(listed(`${prefix}embeddings.patch_embedding.weight`)).toBe(
      'vision.patch_embedding.weight',
    );
    expect(listed(`${prefix}embeddings.patch_embedding.bias`)).toBe('vision.patch_embedding.bias');
    expect(listed(`${prefix}embeddings.position_embedding.weight`)).toBe(
      'vision.position_embedding',
    );
    expect(listed(`${prefix}encoder.layers.3.layer_norm1.weight`)).toBe(
      'vision.layers.3.layer_norm1.weight',
    );
    expect(listed(`${prefix}encoder.layers.3.self_attn.out_proj.bias`)).toBe(
      'vision.layers.3.self_attn.out_proj.bias',
    );
    expect(listed(`${prefix}encoder.layers.26.mlp.fc2.bias`)).toBe('vision.layers.26.mlp.fc2.bias');
    expect(listed(`${prefix}post_layernorm.weight`)).toBe('vision.post_layernorm.weight');
    expect(listed(`${prefix}head.probe`)).toBeNull();
  });

  it('reads the projector and the head under every prefix', () => {
    for (const prefix of ['', 'model.']) {
      expect(listed(`${prefix}multi_modal_projector.mm_input_projection_weight`)).toBe(
        'projector.weight',
      );
      expect(listed(`${prefix}multi_modal_projector.mm_soft_emb_norm.weight`)).toBe(
        'projector.norm',
      );
    }
    expect(listed('lm_head.weight')).toBe('lm_head');
    expect(listed('language_model.lm_head.weight')).toBe('lm_head');
    expect(listed('lm_head.qweight')).toBe('lm_head.qweight');
  });

  it.each([
    'embed_tokens.weight',
    'model.layers.0.self_attn.q_proj.bias',
    'model.layers.x.input_layernorm.weight',
    'model.layers.0.self_attn.rotary_emb.inv_freq',
    'constructor',
    'model.constructor',
    'multi_modal_projector.toString',
    'audio_tower.layers.0.weight',
  ])('does not know %s', (stored) => {
    expect(canonicalName(stored)).toBeNull();
  });
});
