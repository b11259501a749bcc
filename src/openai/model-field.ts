import * as z from 'zod/mini';
import type { ModelCard } from '../completer.ts';
import { ServeError } from '../errors.ts';
import { stringField } from './fields.ts';
import { type JsonObject, parseFields } from './parse.ts';
import type { AcceptedModels, RequestContext } from './request-context.ts';

export interface ModelField {
  readonly model?: string | undefined;
}

export const modelSchema: z.ZodMiniType<ModelField> = z.object({
  model: stringField('The id of the served model; may be left out.'),
});

/**
 * Accepts no model, the served one or another name for it.
 * @throws ServeError model_not_found naming what is served
 */
export function checkModel(body: JsonObject, { card, models }: RequestContext): void {
  const { model } = parseFields(modelSchema, body);
  if (model !== undefined && !isServed(model, card, models)) throw modelNotFound(card);
}

export function isServed(name: string, card: ModelCard, models?: AcceptedModels): boolean {
  return name === card.id || models?.acceptsAny === true || models?.aliases.includes(name) === true;
}

export function modelNotFound(card: ModelCard): ServeError {
  return new ServeError(
    'model_not_found',
    `There is no such model here; this server serves '${card.id}'.`,
    { param: 'model' },
  );
}
