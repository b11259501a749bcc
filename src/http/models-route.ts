import type { Handler } from 'hono';
import type { ModelCard } from '../completer.ts';
import { isServed, modelNotFound } from '../openai/model-field.ts';
import { defaultMaxTokens } from '../openai/sampling-fields.ts';
import type { AppEnv, AppParts } from './app-env.ts';
import { createHold } from './cold.ts';

/** `GET /v1/models`: the model, then once more by each alias. */
export function modelsRoute(parts: AppParts): Handler<AppEnv> {
  return async function modelsHandler(c) {
    const card = await createHold(parts, c.req.raw.signal).card();
    const names = new Set([card.id, ...parts.models.aliases]);
    return c.json({ object: 'list', data: Array.from(names, (name) => modelObject(card, name)) });
  };
}

/** `GET /v1/models/:id`; ids may hold slashes, plain or escaped. */
export function modelRoute(parts: AppParts): Handler<AppEnv> {
  return async function modelHandler(c) {
    const card = await createHold(parts, c.req.raw.signal).card();
    const name = c.req.param('id') ?? '';
    if (!isServed(name, card, parts.models)) throw modelNotFound(card);
    return c.json(modelObject(card, name));
  };
}

function modelObject(card: ModelCard, name: string): object {
  const { defaults } = card;
  return {
    id: name,
    object: 'model',
    created: card.createdSeconds,
    owned_by: 'google',
    root: card.id,
    max_model_len: card.contextTokens,
    precision: card.precision,
    vocab_size: card.vocabSize,
    input_modalities: card.acceptsImages ? ['text', 'image'] : ['text'],
    output_modalities: ['text'],
    capabilities: {
      chat_completions: true,
      completions: true,
      streaming: true,
      logprobs: true,
      vision: card.acceptsImages,
      tools: false,
      structured_outputs: false,
    },
    defaults: {
      temperature: defaults.temperature,
      top_k: defaults.topK,
      top_p: defaults.topP,
      min_p: defaults.minP,
      repetition_penalty: defaults.repetitionPenalty,
      max_tokens: defaultMaxTokens(card),
    },
  };
}
