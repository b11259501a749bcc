import type { Handler } from 'hono';
import { parseDetokenizeRequest, parseTokenizeRequest } from '../openai/tokenize-request.ts';
import { answerSignal } from './answer.ts';
import { type AppEnv, type AppParts, requestContext } from './app-env.ts';
import { readJson } from './body.ts';
import { createHold, runWithin } from './cold.ts';

/** `POST /tokenize`, in vLLM's shape. */
export function tokenizeRoute(parts: AppParts): Handler<AppEnv> {
  return async function tokenizeHandler(c) {
    const hold = createHold(parts, c.req.raw.signal);
    const body = await readJson(c, parts.limits);
    const context = await requestContext(c, parts, hold);
    const request = parseTokenizeRequest(body, context);
    const { abort, signal } = answerSignal(c.req.raw);
    const tokens = await runWithin(hold, abort, () => parts.completer.tokenize(request, signal));
    return c.json({ tokens, count: tokens.length, max_model_len: context.card.contextTokens });
  };
}

/** `POST /detokenize`, in vLLM's shape. */
export function detokenizeRoute(parts: AppParts): Handler<AppEnv> {
  return async function detokenizeHandler(c) {
    const hold = createHold(parts, c.req.raw.signal);
    const body = await readJson(c, parts.limits);
    const ids = parseDetokenizeRequest(body, await requestContext(c, parts, hold));
    const { abort, signal } = answerSignal(c.req.raw);
    const prompt = await runWithin(hold, abort, async () =>
      parts.completer.detokenize(ids, signal),
    );
    return c.json({ prompt });
  };
}
