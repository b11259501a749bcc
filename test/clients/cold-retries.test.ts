import OpenAI from 'openai';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createApp } from '../../src/app.ts';
import { createLazyCompleter } from '../../src/lazy-completer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createStubCompleter, STUB_CARD } from '../support/stub-completer.ts';

const STEP_MS = 500;
const ASK = { model: STUB_CARD.id, messages: [{ role: 'user' as const, content: 'Hi' }] };

// All waits are the clients' and the servers' own; only their time is ours.
beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] }));
afterEach(() => void vi.useRealTimers());

interface Answer {
  readonly status: number;
  /** Milliseconds, as the client was told. */
  readonly retryAfter: string | null;
  /** Since the beginning. */
  readonly seconds: number;
}

/** Asks the unmodified client, with its default retries, of a server that boots for a while. */
function booting(bootMs: number): {
  readonly answers: readonly Answer[];
  readonly ask: () => Promise<OpenAI.ChatCompletion>;
} {
  const completer = createLazyCompleter({
    clock: systemClock,
    describe: async () => STUB_CARD,
    async load(signal) {
      await systemClock.sleep(bootMs, signal);
      return createStubCompleter();
    },
    idleUnloadMs: 1_000,
  });
  const app = createApp({ allowedHosts: '*', completer });
  const startedMs = Date.now();
  const answers: Answer[] = [];
  const client = new OpenAI({
    baseURL: 'http://gemlet/v1',
    apiKey: 'none',
    async fetch(input, init) {
      const response = await app.request(new Request(input, init));
      const retryAfter = response.headers.get('retry-after-ms');
      const seconds = Math.round((Date.now() - startedMs) / 1_000);
      answers.push({ status: response.status, retryAfter, seconds });
      return response;
    },
  });
  return {
    answers,
    async ask() {
      const over = new AbortController();
      const answer = client.chat.completions.create(ASK).finally(() => over.abort());
      answer.catch(() => undefined);
      while (!over.signal.aborted) {
        await vi.advanceTimersByTimeAsync(STEP_MS);
        for (let turn = 0; turn < 10; turn++) await new Promise((next) => setImmediate(next));
      }
      return answer;
    },
  };
}

describe('the OpenAI client with its own retries', () => {
  it('outlasts a boot of 130 s of which nothing is known', async () => {
    const { ask, answers } = booting(130_000);
    expect((await ask()).choices[0]?.message.content).toBe('9:0');
    // Held for 30 s each, 30 s apart: the third would be held until 150 s.
    expect(answers).toEqual([
      { status: 503, retryAfter: '30000', seconds: 30 },
      { status: 503, retryAfter: '30000', seconds: 90 },
      { status: 200, retryAfter: null, seconds: 130 },
    ]);
  });

  it('comes back when it is up, once a boot was measured', async () => {
    const { ask, answers } = booting(200_000);
    await expect(ask()).rejects.toMatchObject({ status: 503, code: 'model_loading' });
    await vi.advanceTimersByTimeAsync(60_000);
    const before = answers.length;
    expect((await ask()).choices[0]?.message.content).toBe('9:0');
    expect(answers.slice(before).map(({ status, retryAfter }) => [status, retryAfter])).toEqual([
      [503, '60000'],
      [503, '60000'],
      [200, null],
    ]);
  });
});
