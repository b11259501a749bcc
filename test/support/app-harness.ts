import { expect } from 'vitest';
import { type AppEvent, type AppOptions, createApp } from '../../src/app.ts';
import { createStubCompleter, type StubCompleter, type StubOptions } from './stub-completer.ts';

/** An app over a stub, and what it did. */
export interface AppHarness {
  readonly completer: StubCompleter;
  readonly events: AppEvent[];
  /** Posts a body as JSON; without one, sends `init` as it is. */
  readonly send: (path: string, body?: unknown, init?: RequestInit) => Promise<Response>;
}

export function createAppHarness(
  options: Partial<AppOptions> = {},
  stub: StubOptions = {},
): AppHarness {
  const completer = createStubCompleter(stub);
  const events: AppEvent[] = [];
  const app = createApp({
    completer,
    randomSeed: () => 1,
    onEvent: (event) => void events.push(event),
    ...options,
  });
  return {
    completer,
    events,
    send: async (path, body, init = {}) => {
      if (body === undefined) return app.request(path, init);
      const headers = new Headers(init.headers);
      if (!headers.has('content-type')) headers.set('content-type', 'application/json');
      return app.request(path, { method: 'POST', body: JSON.stringify(body), ...init, headers });
    },
  };
}

/** The JSON frames of an event stream; fails when it does not end with [DONE]. */
export async function frames(response: Response): Promise<Record<string, unknown>[]> {
  expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
  const lines = (await response.text()).split('\n\n').filter((line) => line.startsWith('data: '));
  expect(lines.pop()).toBe('data: [DONE]');
  return lines.map((line) => JSON.parse(line.slice(6)) as Record<string, unknown>);
}

/** A gate that only an abort opens. */
export function untilAborted(_: number, signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

/** Lets the event loop turn until `fact` holds. */
export async function until(fact: () => boolean): Promise<void> {
  while (!fact()) await new Promise((resolve) => setImmediate(resolve));
}
