import type { Completer, CompletionEvent, CompletionRequest } from '../completer.ts';
import { ServeError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { RequestTrace } from './request-events.ts';

/** The engine knows no requests: which field was too long is known here. */
function tooLong(error: unknown, { prompt }: CompletionRequest): unknown {
  if (!ServeError.is(error) || error.code !== 'context_length_exceeded' || error.param !== null) {
    return error;
  }
  const param = prompt.type === 'chat' ? 'messages' : 'prompt';
  return new ServeError(error.code, error.message, { param, cause: error });
}

/** Runs a completion and shows what passes to the request's trace. */
export async function* tracedCompletion(
  completer: Completer,
  request: CompletionRequest,
  trace: RequestTrace,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<CompletionEvent, void, undefined> {
  const meter = trace.meter(request);
  // A reader who leaves does so at a yield, which only `finally` notices.
  let left: 'abort' | 'error' = 'abort';
  try {
    for await (const event of completer.complete(request, signal)) {
      meter.add(event, clock.now());
      yield event;
    }
    left = 'error';
  } catch (error) {
    left = signal.aborted ? 'abort' : 'error';
    throw tooLong(error, request);
  } finally {
    meter.end(left);
  }
}
