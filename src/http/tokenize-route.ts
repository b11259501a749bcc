import type { Handler } from 'hono';
import { parseDetokenizeRequest, parseTokenizeRequest } from '../openai/tokenize-request.ts';
import { answerSignal } from './answer.ts';
import { type AppEnv, type AppParts, requestContext } from './app-env.ts';
import { readJson } from './body.ts';

/** `POST /tokenize`, in vLLM's shape. */
export function tokenizeRoute(parts: AppParts): Handler<AppEnv> {
  return async function tokenizeHandler(c) {
    const body = await readJson(c.req.raw, parts.limits);
    const request = parseTokenizeRequest(body, requestContext(c, parts));
    const { completer } = parts;
    const tokens = await completer.tokenize(request, answerSignal(c.req.raw).signal);
    return c.json({ tokens, count: tokens.length, max_model_len: completer.model.contextTokens });
  };
}

/** `POST /detokenize`, in vLLM's shape. */
export function detokenizeRoute(parts: AppParts): Handler<AppEnv> {
  return async function detokenizeHandler(c) {
    const body = await readJson(c.req.raw, parts.limits);
    const ids = parseDetokenizeRequest(body, requestContext(c, parts));
    return c.json({ prompt: parts.completer.detokenize(ids) });
  };
}
