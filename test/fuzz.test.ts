import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { createApp } from '../src/app.ts';
import { type FuzzReport, runFuzz } from './support/fuzzer.ts';
import { createStubCompleter, STUB_CARD } from './support/stub-completer.ts';

const chat = {
  model: STUB_CARD.id,
  messages: [
    { role: 'system', content: 'Be brief.' },
    {
      role: 'user',
      content: [
        { type: 'text', text: 'What is this?' },
        {
          type: 'image_url',
          image_url: { url: 'data:image/png;base64,iVBORw0KGgo=', detail: 'low' },
        },
      ],
    },
    { role: 'assistant', content: 'A turtle.' },
    { role: 'user', content: 'Grüß Gott 👋' },
  ],
  n: 2,
  max_tokens: 3,
  temperature: 0.5,
  top_p: 0.9,
  top_k: 5,
  seed: 7,
  stop: ['a', 'b'],
  logprobs: true,
  top_logprobs: 2,
  logit_bias: { '5': 1 },
  stream: false,
  stream_options: { include_usage: true },
};
const completion = {
  prompt: ['abc', [72, 105], 'd'],
  n: 2,
  max_tokens: 3,
  echo: true,
  logprobs: 2,
  stop: 'x',
  stream: true,
  return_token_ids: true,
};

// A full collection on demand, without flags on the command line.
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

it(
  'survives 10,000 mutants of good requests, and its heap stays flat',
  { timeout: 120_000 },
  async () => {
    const completer = createStubCompleter();
    const app = createApp({ completer });
    const fuzz = async (
      path: string,
      goodBody: object,
      seed: number,
      count: number,
    ): Promise<FuzzReport> =>
      runFuzz({ request: async (init) => app.request(path, init), seed, count, goodBody });
    const heapAfter = async (seed: number, count: number): Promise<number> => {
      const reports = [
        await fuzz('/v1/chat/completions', chat, seed, count),
        await fuzz('/v1/completions', completion, seed + 1_000_000, count),
      ];
      // A fuzzer whose mutants all pass or all fail tests nothing.
      for (const { statuses } of reports) {
        expect(statuses.get(200)).toBeGreaterThan(count / 20);
        expect(statuses.get(400)).toBeGreaterThan(count / 4);
      }
      expect(completer.activeCount).toBe(0);
      completer.requests.length = 0;
      await settleHeap();
      return process.memoryUsage().heapUsed;
    };
    const warm = await heapAfter(1, 500);
    const end = await heapAfter(10_000, 5_000);
    expect((end - warm) / 2 ** 20).toBeLessThan(8);
  },
);

/** Responses and streams are freed by finalizers, which get their turns from the event loop. */
async function settleHeap(): Promise<void> {
  for (let turn = 0; turn < 100; turn++) {
    if (turn % 20 === 0) collectGarbage();
    await new Promise((resolve) => setImmediate(resolve));
  }
  collectGarbage();
}
