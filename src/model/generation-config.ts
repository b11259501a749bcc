import type { SamplingDefaults } from '../completer.ts';
import { jsonFields } from './json-fields.ts';

/** What Gemma 3's own generation_config.json says, and the longest answer of its model card. */
const GEMMA_DEFAULTS: SamplingDefaults = {
  temperature: 1,
  topK: 64,
  topP: 0.95,
  minP: 0,
  repetitionPenalty: 1,
  maxTokens: 8192,
};

/**
 * Sampling defaults from a parsed generation_config.json; undefined or null means there is none.
 * `do_sample: false` is temperature 0, as in the reference.
 * @throws ServeError invalid_checkpoint naming the key
 */
export function parseGenerationConfig(value: unknown): SamplingDefaults {
  if (value === undefined || value === null) return GEMMA_DEFAULTS;
  const fields = jsonFields(value, 'generation_config.json');
  const sampled = fields.boolean('do_sample', true);
  const temperature = fields.number(
    'temperature',
    { min: 0, max: 100 },
    GEMMA_DEFAULTS.temperature,
  );
  return {
    temperature: sampled ? temperature : 0,
    topK: fields.integer('top_k', { min: 0, max: 2 ** 31 }, GEMMA_DEFAULTS.topK),
    topP: fields.number('top_p', { min: 0, max: 1 }, GEMMA_DEFAULTS.topP),
    minP: fields.number('min_p', { min: 0, max: 1 }, GEMMA_DEFAULTS.minP),
    repetitionPenalty: fields.number(
      'repetition_penalty',
      { min: 0.01, max: 100 },
      GEMMA_DEFAULTS.repetitionPenalty,
    ),
    maxTokens: fields.integer('max_new_tokens', { min: 1, max: 2 ** 31 }, GEMMA_DEFAULTS.maxTokens),
  };
}
