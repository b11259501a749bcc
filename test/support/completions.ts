import type { CompletionEvent, CompletionRequest } from '../../src/completer.ts';
import { GREEDY } from './engine-harness.ts';

/** A request for ten tokens after `Hello`, but for what is given. */
export function request(
  sampling: Partial<CompletionRequest['sampling']> = {},
  rest: Partial<CompletionRequest> = {},
): CompletionRequest {
  return {
    prompt: { type: 'text', text: 'Hello', addBos: true },
    choiceCount: 1,
    scope: '',
    tenant: '',
    sessionId: null,
    sampling: { ...GREEDY, temperature: 1, stop: [], maxTokens: 10, seed: 5, ...sampling },
    returnTokenIds: false,
    ...rest,
  };
}

export async function collect(events: AsyncIterable<CompletionEvent>): Promise<CompletionEvent[]> {
  const all: CompletionEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

/** What one choice says. */
export function textOf(events: readonly CompletionEvent[], index = 0): string {
  return events
    .map((event) => (event.type === 'delta' && event.index === index ? event.text : ''))
    .join('');
}

/** Ids of one choice, those without text included. */
export function idsOf(events: readonly CompletionEvent[], index = 0): number[] {
  return events.flatMap((event) =>
    event.type === 'delta' && event.index === index ? event.tokens.map(({ id }) => id) : [],
  );
}
