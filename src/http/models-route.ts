import type { Handler } from 'hono';
import type { ModelCard } from '../completer.ts';
import { modelNotFound } from '../openai/model-field.ts';
import type { AppEnv, AppParts } from './app-env.ts';
import { createHold } from './cold.ts';

/** `GET /v1/models`. */
export function modelsRoute(parts: AppParts): Handler<AppEnv> {
  return async function modelsHandler(c) {
    const card = await createHold(parts, c.req.raw.signal).card();
    return c.json({ object: 'list', data: [modelObject(card)] });
  };
}

/** `GET /v1/models/:id`; ids may hold slashes, plain or escaped. */
export function modelRoute(parts: AppParts): Handler<AppEnv> {
  return async function modelHandler(c) {
    const card = await createHold(parts, c.req.raw.signal).card();
    if (c.req.param('id') !== card.id) throw modelNotFound(card);
    return c.json(modelObject(card));
  };
}

function modelObject(card: ModelCard): object {
  const { defaults } = card;
  return {
    id: card.id,
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
      max_tokens: defaults.maxTokens,
    },
  };
}
