import { describe, expect, it } from 'vitest';
import { parseGenerationConfig } from '../../src/model/generation-config.ts';
import { readJsonFile } from '../support/read-json.ts';

const GEMMA = {
  temperature: 1,
  topK: 64,
  topP: 0.95,
  minP: 0,
  repetitionPenalty: 1,
  maxTokens: 8192,
};

describe('parseGenerationConfig', () => {
  it('gives the defaults of Gemma 3 without a file or with empty fields', () => {
    expect(parseGenerationConfig(undefined)).toEqual(GEMMA);
    expect(parseGenerationConfig(null)).toEqual(GEMMA);
    expect(parseGenerationConfig({ top_k: null })).toEqual(GEMMA);
  });

  it('reads the demo model’s file', () => {
    const file = readJsonFile('infra/demo-model/generation_config.json');
    expect(parseGenerationConfig(file)).toEqual(GEMMA);
  });

  it('reads every field it knows', () => {
    const file = {
      temperature: 0.5,
      top_k: 10,
      top_p: 0.5,
      min_p: 0.1,
      repetition_penalty: 1.25,
      max_new_tokens: 99,
    };
    expect(parseGenerationConfig(file)).toEqual({
      temperature: 0.5,
      topK: 10,
      topP: 0.5,
      minP: 0.1,
      repetitionPenalty: 1.25,
      maxTokens: 99,
    });
  });

  it('is greedy when the file turns sampling off', () => {
    expect(parseGenerationConfig({ do_sample: false, temperature: 0.7 }).temperature).toBe(0);
  });

  it('names the key of a bad value', () => {
    expect(() => parseGenerationConfig({ top_p: 2 })).toThrow('generation_config.json: top_p');
    expect(() => parseGenerationConfig({ do_sample: 1 })).toThrow('do_sample');
  });
});
