import { ServeError } from '../errors.ts';
import type { JsonFields } from './json-fields.ts';

const MODEL_TYPES: ReadonlySet<string> = new Set(['gemma3', 'gemma3_text']);
const ARCHITECTURES: ReadonlySet<string> = new Set([
  'Gemma3ForConditionalGeneration',
  'Gemma3ForCausalLM',
]);
const TAKE_GEMMA =
  'gemlet serves Gemma 3 text and vision models only: take one of google/gemma-3-270m-it, 1b-it, 4b-it, 12b-it, 27b-it or a conversion of it';

/**
 * Refuses whatever is not a Gemma 3 that generates text, by name.
 * @param top config.json
 * @throws ServeError unsupported_model
 */
export function checkArchitecture(top: JsonFields): void {
  const modelType = top.text('model_type');
  const architectures = architectureNames(top);
  const known = architectures.some((name) => ARCHITECTURES.has(name));
  if (modelType === null ? !known : !MODEL_TYPES.has(modelType)) {
    const name = modelType ?? architectures[0] ?? 'a model without model_type';
    throw new ServeError('unsupported_model', `config.json describes ${name}; ${TAKE_GEMMA}`);
  }
  if (architectures.length > 0 && !known) {
    throw new ServeError(
      'unsupported_model',
      `config.json: architectures is ${architectures.join(', ')}, which does not generate text; ${TAKE_GEMMA}`,
    );
  }
  const text = top.object('text_config') ?? top;
  const bidirectional = text.value('use_bidirectional_attention');
  if (bidirectional !== undefined && bidirectional !== false) {
    throw text.error(
      'use_bidirectional_attention',
      `makes this an embedding model; ${TAKE_GEMMA}`,
      'unsupported_model',
    );
  }
}

function architectureNames(top: JsonFields): readonly string[] {
  const stored = top.value('architectures') ?? [];
  if (!Array.isArray(stored) || !stored.every((name) => typeof name === 'string')) {
    throw top.error('architectures', 'must be a list of names');
  }
  return stored;
}
