import type { Context } from 'hono';
import { openSse } from '../openai/sse.ts';
import type { AppEnv, AppParts } from './app-env.ts';
import type { RequestTrace } from './request-events.ts';

/** A signal that fires when the client goes away or the answer is given up. */
export interface AnswerSignal {
  readonly signal: AbortSignal;
  readonly abort: AbortController;
}

export function answerSignal(request: Request): AnswerSignal {
  const abort = new AbortController();
  return { abort, signal: AbortSignal.any([request.signal, abort.signal]) };
}

/**
 * Answers with a stream of JSON frames.
 * @throws what the first item failed with, so that early failures keep their HTTP status
 */
export async function streamAnswer(
  c: Context<AppEnv>,
  items: AsyncIterable<unknown>,
  answer: AnswerSignal,
  parts: AppParts,
): Promise<Response> {
  let report: ReturnType<RequestTrace['defer']> | null = null;
  const body = await openSse(items, {
    clock: parts.clock,
    ...answer,
    ...parts.stream,
    onEnd: (end) => report?.(end),
  });
  report = c.get('trace').defer();
  return c.body(body, 200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache, no-transform',
    // nginx buffers proxied answers unless told not to.
    'x-accel-buffering': 'no',
  });
}
