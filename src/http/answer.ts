import type { Context } from 'hono';
import type { JobWork } from '../jobs.ts';
import { openSse } from '../openai/sse.ts';
import type { AppEnv, AppParts } from './app-env.ts';
import { type Hold, isCold, runWithin, waitingText } from './cold.ts';
import { acceptJob, prefersJob } from './job-routes.ts';
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
 * Answers with a stream of JSON frames. While the model loads it answers at once, and its comments
 * say how far the load is.
 * @throws what the first item failed with, so that early failures keep their HTTP status
 */
export async function streamAnswer(
  c: Context<AppEnv>,
  items: AsyncIterable<unknown>,
  answer: AnswerSignal,
  parts: AppParts,
): Promise<Response> {
  const { clock, completer, stream } = parts;
  let report: ReturnType<RequestTrace['defer']> | null = null;
  const body = await openSse(items, {
    clock,
    ...answer,
    ...stream,
    ...(isCold(completer) ? { graceMs: 0 } : {}),
    heartbeat: () => waitingText(completer),
    onEnd: (end) => report?.(end),
  });
  report = c.get('trace').defer('stream');
  return c.body(body, 200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache, no-transform',
    // nginx buffers proxied answers unless told not to.
    'x-accel-buffering': 'no',
  });
}

/**
 * Answers with one JSON object: now, when the model is there, or as a job if the client prefers.
 * @param places answers that it computes side by side
 */
export async function wholeAnswer(
  c: Context<AppEnv>,
  run: JobWork['run'],
  places: number,
  hold: Hold,
  parts: AppParts,
): Promise<Response> {
  if (prefersJob(c.req.raw)) return acceptJob(c, parts, run, places);
  const answer = answerSignal(c.req.raw);
  return c.json(await runWithin(hold, answer.abort, (onStart) => run(answer.signal, onStart)));
}
