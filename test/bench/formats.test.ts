import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createFolderSource } from '../../adapters/node/folder-source.ts';
import { ensureBenchModel } from '../../infra/bench/bench-model.ts';
import type { BenchModel } from '../../infra/bench/bench-model.ts';
import { shapeOf } from '../../infra/bench/shapes.ts';
import { openCheckpoint } from '../../src/weights/open-checkpoint.ts';
import { dequantize } from '../support/dequantize.ts';
import { readGguf } from '../support/gguf-reader.ts';

const shape = shapeOf('mini');

const GGUF_NAMES: Readonly<Record<string, string>> = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'post_attention_norm',
  pre_feedforward_layernorm: 'ffn_norm',
  post_feedforward_layernorm: 'post_ffw_norm',
};

function expectSame(name: string, found: Float32Array, expected: Float32Array): void {
  expect(found.length, name).toBe(expected.length);
  // One expectation a tensor: one a number would take minutes.
  const different = found.findIndex((value, i) => value !== expected[i]);
  expect(different, `${name}: first difference`).toBe(-1);
}

function plusOne(weights: Float32Array): Float32Array {
  return weights.map((weight) => weight + 1);
}

describe('the random model of the bench', () => {
  let root: string;
  let model: BenchModel;
  const lines: string[] = [];
  const ensure = (): BenchModel => ensureBenchModel(root, shape, (line) => lines.push(line));

  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'gemlet-bench-test-'));
    model = ensure();
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  it('holds the same numbers in the checkpoint and in the GGUF, bit for bit', async () => {
    const gguf = readGguf(readFileSync(model.gguf));
    const checkpoint = await openCheckpoint(createFolderSource(model.checkpoint));
    try {
      const values = (name: string): Float32Array => {
        const tensor = gguf.tensors.get(`${name}.weight`);
        if (tensor === undefined) throw new Error(`the GGUF lacks ${name}`);
        return tensor.values;
      };
      let compared = 0;
      for (let layer = 0; layer < shape.layerCount; layer += 1) {
        for (const [part, ggufPart] of Object.entries(GGUF_NAMES)) {
          const name = `layers.${layer}.${part}`;
          const expected = part.endsWith('_proj')
            ? await dequantize(checkpoint, name)
            : plusOne(await checkpoint.readFloats(name));
          expectSame(name, values(`blk.${layer}.${ggufPart}`), expected);
          compared += 1;
        }
      }
      expectSame('embed_tokens', values('token_embd'), await checkpoint.readFloats('embed_tokens'));
      expectSame('norm', values('output_norm'), plusOne(await checkpoint.readFloats('norm')));
      expect(compared + 2).toBe(gguf.tensors.size);
    } finally {
      await checkpoint.close();
    }
  });

  it('is read by the loader with the shape it was made for', async () => {
    const checkpoint = await openCheckpoint(createFolderSource(model.checkpoint));
    const { text, vision } = checkpoint.config;
    await checkpoint.close();
    expect(vision).toBeNull();
    expect(text).toMatchObject({
      vocabSize: shape.vocabSize,
      hiddenSize: shape.hiddenSize,
      layerCount: shape.layerCount,
      headCount: shape.headCount,
      kvHeadCount: shape.kvHeadCount,
      headDim: shape.headDim,
      windowTokens: shape.windowTokens,
      attentionScale: shape.headDim ** -0.5,
      rope: { local: { theta: 1e4, factor: 1 }, global: { theta: 1e6, factor: 8 } },
    });
    expect(text.layerTypes.filter((type) => type === 'global')).toHaveLength(1);
    expect(text.layerTypes[5]).toBe('global');
  });

  it('describes itself to llama.cpp with the same shape', () => {
    const { metadata } = readGguf(readFileSync(model.gguf));
    expect(metadata.get('general.architecture')).toBe('gemma3');
    expect(metadata.get('gemma3.block_count')).toBe(shape.layerCount);
    expect(metadata.get('gemma3.attention.head_count_kv')).toBe(shape.kvHeadCount);
    expect(metadata.get('gemma3.attention.sliding_window')).toBe(shape.windowTokens);
    expect(metadata.get('gemma3.rope.scaling.factor')).toBe(shape.ropeFactor);
    const words = metadata.get('tokenizer.ggml.tokens') as string[];
    expect(new Set(words).size).toBe(shape.vocabSize);
  });

  it('is written once and again only after an interrupted run', () => {
    lines.length = 0;
    ensure();
    expect(lines).toEqual([]);
    const before = readFileSync(model.gguf);
    rmSync(join(root, 'mini/bench-model.json'));
    ensure();
    expect(lines).toHaveLength(1);
    expect(readFileSync(model.gguf).equals(before)).toBe(true);
    expect(readdirSync(model.checkpoint).toSorted()).toEqual([
      'config.json',
      'model-00001.safetensors',
      'model.safetensors.index.json',
    ]);
  });
});
