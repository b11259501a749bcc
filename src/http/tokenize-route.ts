import type { Handler } from 'hono';
import { parseDetokenizeRequest, parseTokenizeRequest } from '../openai/tokenize-request.ts';
import { type AppEnv, type AppParts, requestContext } from './app-env.ts';
import { readJson } from './body.ts';
import { createHold, type Hold } from './cold.ts';

/** `POST /tokenize`, in vLLM's shape. */
export function tokenizeRoute(parts: AppParts): Handler<AppEnv> {
  return async function tokenizeHandler(c) {
    const hold = createHold(parts, c.req.raw.signal);
    const body = await readJson(c, parts.limits);
    const context = await requestContext(c, parts, hold);
    const request = parseTokenizeRequest(body, context);
    const tokens = await unlessCold(hold, (signal) =>
      parts.completer.tokenize(request, AbortSignal.any([signal, c.req.raw.signal])),
    );
    return c.json({ tokens, count: tokens.length, max_model_len: context.card.contextTokens });
  };
}

/** `POST /detokenize`, in vLLM's shape. */
export function detokenizeRoute(parts: AppParts): Handler<AppEnv> {
  return async function detokenizeHandler(c) {
    const hold = createHold(parts, c.req.raw.signal);
    const body = await readJson(c, parts.limits);
    const ids = parseDetokenizeRequest(body, await requestContext(c, parts, hold));
    const prompt = await unlessCold(hold, async (signal) =>
      parts.completer.detokenize(ids, AbortSignal.any([signal, c.req.raw.signal])),
    );
    return c.json({ prompt });
  };
}

/** Work that may need the model, as where it is loaded into this process, or may not, as at a gateway. */
async function unlessCold<T>(hold: Hold, start: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const late = new AbortController();
  const running = start(late.signal);
  const ready = hold.ready();
  ready.catch(() => undefined);
  try {
    await Promise.race([ready, running]);
  } catch (error) {
    late.abort(error);
    await running.catch(() => undefined);
    throw error;
  }
  return running;
}
