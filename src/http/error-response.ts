import type { ServeError } from '../errors.ts';
import { errorBody } from '../openai/error-body.ts';

/** Clients ignore longer waits. */
const MAX_RETRY_MS = 60_000;
const DEFAULT_RETRY_MS = 1_000;
/**
 * For a model that loads, nobody knows how long. Clients of OpenAI's try three times: with 30 s of
 * holding each, that is 150 s.
 */
export const COLD_RETRY_MS = 30_000;

/**
 * The status, headers and body that clients of OpenAI's API expect of a failure; under `/api/` the body
 * is Ollama's.
 */
export function errorResponse(
  error: ServeError,
  {
    path = '',
    headers = {},
  }: { readonly path?: string; readonly headers?: Readonly<Record<string, string>> } = {},
): Response {
  const body = path.startsWith('/api/') ? { error: error.message } : errorBody(error);
  return new Response(JSON.stringify(body), {
    status: error.status,
    headers: { 'content-type': 'application/json', ...retryHeaders(error), ...headers },
  });
}

/**
 * The answer to a client that is gone already: nobody reads it, but the status shows in logs.
 * 499 is nginx's code for it.
 */
export function abortedResponse(): Response {
  return new Response(null, { status: 499 });
}

function retryHeaders(error: ServeError): Record<string, string> {
  if (!error.retryable) return { 'x-should-retry': 'false' };
  const usualMs = error.code === 'model_loading' ? COLD_RETRY_MS : DEFAULT_RETRY_MS;
  const waitMs = Math.min(MAX_RETRY_MS, Math.max(0, error.retryAfterMs ?? usualMs));
  return {
    'x-should-retry': 'true',
    'retry-after-ms': String(Math.ceil(waitMs)),
    'retry-after': String(Math.ceil(waitMs / 1000)),
  };
}
