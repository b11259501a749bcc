import type { Completer, CompletionEvent, CompletionRequest } from '../completer.ts';
import { addUsage } from '../openai/usage.ts';
import type { Clock } from '../lib/clock.ts';
import type { RequestTrace } from './request-events.ts';

/** Runs a completion and counts what passes into the request's trace. */
export async function* tracedCompletion(
  completer: Completer,
  request: CompletionRequest,
  trace: RequestTrace,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<CompletionEvent, void, undefined> {
  const usage = trace.usage();
  for await (const event of completer.complete(request, signal)) {
    addUsage(usage, event);
    trace.meter.add(event, clock.now());
    if (event.type === 'delta' && event.text !== '') trace.markFirstText();
    yield event;
  }
}
