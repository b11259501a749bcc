import type { CompletionEvent, CompletionRequest } from '../completer.ts';
import { ServeError } from '../errors.ts';
import type { AppParts } from './app-env.ts';
import type { RequestTrace } from './request-events.ts';

type CompletionParts = Pick<AppParts, 'completer' | 'clock' | 'requestTimeoutMs'>;

function tooLate(timeoutMs: number): ServeError {
  return new ServeError(
    'answer_timeout',
    `The answer took longer than ${timeoutMs / 1000} s, waiting included. Ask for fewer tokens, or stream it and go on from what came.`,
    { bound: 'requestTimeoutMs' },
  );
}

/** The engine knows no requests: which field was too long is known here. */
function tooLong(error: unknown, { prompt }: CompletionRequest): unknown {
  if (!ServeError.is(error) || error.code !== 'context_length_exceeded' || error.param !== null) {
    return error;
  }
  const param = prompt.type === 'chat' ? 'messages' : 'prompt';
  return new ServeError(error.code, error.message, { param, cause: error });
}

/**
 * Runs a completion, shows what passes to the request's trace, and gives it up when it takes too long.
 * @throws ServeError answer_timeout, what the completer throws
 */
export async function* tracedCompletion(
  { completer, clock, requestTimeoutMs }: CompletionParts,
  request: CompletionRequest,
  trace: RequestTrace,
  signal: AbortSignal,
): AsyncGenerator<CompletionEvent, void, undefined> {
  const meter = trace.meter(request);
  // A reader who leaves does so at a yield, which only `finally` notices.
  let left: 'abort' | 'error' = 'abort';
  const late = new AbortController();
  const over = new AbortController();
  clock.sleep(requestTimeoutMs, over.signal).then(
    () => late.abort(tooLate(requestTimeoutMs)),
    () => undefined,
  );
  try {
    const both = AbortSignal.any([signal, late.signal]);
    for await (const event of completer.complete(request, both)) {
      meter.add(event, clock.now());
      yield event;
    }
    left = 'error';
  } catch (error) {
    left = signal.aborted ? 'abort' : 'error';
    throw tooLong(error, request);
  } finally {
    over.abort();
    meter.end(left);
  }
}
