import type { Handler } from 'hono';
import { parseDetokenizeRequest, parseTokenizeRequest } from '../openai/tokenize-request.ts';
import { type AppEnv, type AppParts, requestContext } from './app-env.ts';
import { readJson } from './body.ts';
import { createHold } from './cold.ts';

/** `POST /tokenize`, in vLLM's shape. */
export function tokenizeRoute(parts: AppParts): Handler<AppEnv> {
  return async function tokenizeHandler(c) {
    const hold = createHold(parts, c.req.raw.signal);
    const body = await readJson(c.req.raw, parts.limits);
    const context = await requestContext(c, parts, hold);
    const request = parseTokenizeRequest(body, context);
    await hold.ready();
    const tokens = await parts.completer.tokenize(request, c.req.raw.signal);
    return c.json({ tokens, count: tokens.length, max_model_len: context.card.contextTokens });
  };
}

/** `POST /detokenize`, in vLLM's shape. */
export function detokenizeRoute(parts: AppParts): Handler<AppEnv> {
  return async function detokenizeHandler(c) {
    const hold = createHold(parts, c.req.raw.signal);
    const body = await readJson(c.req.raw, parts.limits);
    const ids = parseDetokenizeRequest(body, await requestContext(c, parts, hold));
    await hold.ready();
    return c.json({ prompt: await parts.completer.detokenize(ids, c.req.raw.signal) });
  };
}
