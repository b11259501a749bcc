import { expect, test } from 'vitest';
import { createApp } from '../../src/app.ts';
import type { Completer } from '../../src/completer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createFakeEngineCompleter } from '../support/fake-engine-completer.ts';
import { until } from '../support/app-harness.ts';
import {
  createTestFleet,
  createTestGateway,
  firstReplica,
  plainTable,
  type TestFleet,
} from '../support/fleet-harness.ts';
import { PNG_COLOR, writePng } from '../support/png-writer.ts';

interface Answer extends Record<string, unknown> {
  readonly status: number;
  readonly choices: readonly { readonly message: { readonly content: string } }[];
  readonly usage: {
    readonly prompt_tokens_details: {
      readonly cached_tokens: number;
      readonly image_tokens: number;
    };
  };
  readonly error: { readonly code: string };
}

type Body = Readonly<Record<string, unknown>>;

function pngUrl(width: number, height: number): string {
  const raw = Uint8Array.from({ length: height * (1 + 3 * width) }, (_, at) =>
    at % (1 + 3 * width) === 0 ? 0 : (at * 7) % 251,
  );
  const head = { width, height, depth: 8, color: PNG_COLOR.rgb };
  return `data:image/png;base64,${Buffer.from(writePng(head, raw)).toString('base64')}`;
}

const HELLO: Body = {
  model: 'google/gemma-fake',
  messages: [{ role: 'user', content: 'Hello there, replica' }],
  seed: 7,
  max_tokens: 12,
};

async function post(
  completer: Completer,
  body: Body,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const app = createApp({ completer });
  const response = await app.request('/v1/chat/completions', {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  return { ...((await response.json()) as Answer), status: response.status };
}

function gatewayOf(fleet: TestFleet): Completer {
  return createTestGateway(fleet, firstReplica(fleet.replicas.map(({ url }) => url)), plainTable());
}

/** What every answer has of its own says nothing of how it was made. */
const withoutIds = (answer: object): object => ({ ...answer, id: '', created: 0 });

test('a gateway answers as the replica itself would', async () => {
  const { completer: alone } = createFakeEngineCompleter();
  const body = { ...HELLO, logprobs: true, top_logprobs: 3, stop: ['q'], n: 3 };
  const direct = await post(alone, body);
  const remote = await post(gatewayOf(createTestFleet(1)), body);
  expect(direct.status).toBe(200);
  expect(withoutIds(remote)).toEqual(withoutIds(direct));
});

test('pictures travel once, and a replica that lacks them says so', async () => {
  const url = pngUrl(20, 10);
  const content = [
    { type: 'image_url', image_url: { url } },
    { type: 'text', text: 'What is this?' },
  ];
  const body = { ...HELLO, messages: [{ role: 'user', content }] };
  const { completer: alone } = createFakeEngineCompleter();
  const direct = await post(alone, body);
  const fleet = createTestFleet(1);
  const [replica] = fleet.replicas;
  const gateway = gatewayOf(fleet);
  expect(withoutIds(await post(gateway, body))).toEqual(withoutIds(direct));
  const first = replica?.sentBytes ?? 0;
  await post(gateway, body);
  // 8 x 8 RGB pixels are not sent again.
  expect((replica?.sentBytes ?? 0) - first).toBeLessThanOrEqual(first - 192);

  // Another process at the same address knows nothing of what the gateway sent.
  const later = createTestFleet(1);
  const moved = createTestGateway(
    { fetch: (...call) => (swapped ? later : fleet).fetch(...call) },
    firstReplica(['http://r0']),
    plainTable(),
  );
  let swapped = false;
  await post(moved, body);
  swapped = true;
  expect(withoutIds(await post(moved, body))).toEqual(withoutIds(direct));
  expect(later.replicas[0]?.asked).toEqual(['/replica/v1/generate', '/replica/v1/generate']);
});

test('a picture too large for the gateway is prepared by the replica, to the same answer', async () => {
  const url = pngUrl(900, 300);
  const content = [
    { type: 'image_url', image_url: { url, detail: 'high' } },
    { type: 'text', text: 'And this?' },
  ];
  const body = { ...HELLO, messages: [{ role: 'user', content }] };
  const direct = await post(createFakeEngineCompleter().completer, body);
  const fleet = createTestFleet(1);
  const gateway = createTestGateway(fleet, firstReplica(['http://r0']), plainTable(), {
    maxDecodePixels: 1000,
  });
  expect(direct.usage.prompt_tokens_details.image_tokens).toBe(16);
  expect(withoutIds(await post(gateway, body))).toEqual(withoutIds(direct));
});

test('a replica that is down is passed over before the first token', async () => {
  const direct = await post(createFakeEngineCompleter().completer, HELLO);
  const fleet = createTestFleet(2);
  fleet.replicas[0]?.kill();
  expect(withoutIds(await post(gatewayOf(fleet), HELLO))).toEqual(withoutIds(direct));
  expect(fleet.replicas[1]?.asked).toEqual(['/replica/v1/status', '/replica/v1/generate']);
});

test.each([1, 2, 5, 11])(
  'a replica that dies after %i tokens is replaced, and the answer is whole',
  async (count) => {
    const body = { ...HELLO, logprobs: true, stop: ['zz', 'q!'], presence_penalty: 1 };
    const direct = await post(createFakeEngineCompleter().completer, body);
    let steps = 0;
    const fleet = createTestFleet(
      2,
      {},
      {
        beforeForward(step) {
          steps += step.decode.length;
          if (steps === count) fleet.replicas[0]?.kill();
        },
      },
    );
    const remote = await post(gatewayOf(fleet), body);
    expect(withoutIds(remote)).toEqual(withoutIds(direct));
    expect(fleet.replicas[1]?.asked).toEqual(['/replica/v1/status', '/replica/v1/generate']);
  },
);

test('a client that leaves frees the replica', async () => {
  const fleet = createTestFleet(
    1,
    {},
    { beforeForward: () => new Promise((go) => setImmediate(go)) },
  );
  const [replica] = fleet.replicas;
  const app = createApp({ completer: gatewayOf(fleet) });
  const response = await app.request('/v1/chat/completions', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...HELLO, stream: true, max_tokens: 400, ignore_eos: true }),
  });
  const reader = response.body?.getReader();
  await reader?.read();
  await reader?.cancel();
  await until(() => replica?.completer.stats?.()?.running === 0);
  await until(() => replica?.asked.includes('/replica/v1/cancel') === true);
});

test('a request that is at fault is refused as it would be, and tried once', async () => {
  const fleet = createTestFleet(2);
  const answer = await post(gatewayOf(fleet), { ...HELLO, max_tokens: 100_000 });
  expect(answer.status).toBe(400);
  expect(answer.error.code).toBe('context_length_exceeded');
  expect(fleet.replicas.flatMap(({ asked }) => asked)).toEqual([]);
});

test('replicas of another fleet do not answer, and the client learns no secret', async () => {
  const fleet = createTestFleet(1, {}, {}, ['quite another key of a fleet']);
  const answer = await post(gatewayOf(fleet), HELLO);
  expect(answer.status).toBe(500);
  expect(answer.error).toMatchObject({ code: 'backend_unavailable' });
  expect(JSON.stringify(answer)).not.toMatch(/r0|key of/);
});

test('the second turn of a conversation finds its cache as at the replica itself, named or not', async () => {
  for (const headers of [{ 'x-session-id': 'talk' }, {}] as const) {
    const table = plainTable();
    const fleet = createTestFleet(2);
    const urls = fleet.replicas.map(({ url }) => url);
    const cached: number[] = [];
    for (const completer of [
      createFakeEngineCompleter().completer,
      createTestGateway(fleet, firstReplica(urls.toReversed()), table),
    ]) {
      const first = await post(completer, HELLO, headers);
      const messages = [
        ...(HELLO['messages'] as object[]),
        { role: 'assistant', content: first.choices[0]?.message.content },
        { role: 'user', content: 'And then?' },
      ];
      const second = await post(completer, { ...HELLO, messages }, headers);
      cached.push(second.usage.prompt_tokens_details.cached_tokens);
    }
    expect(cached[0]).toBeGreaterThan(30);
    expect(cached[1]).toBe(cached[0]);
    expect(Array.from(table.pins.values())).toEqual(['http://r1']);
    expect(Array.from(table.pins.keys()).join()).toMatch(/^[0-9a-f]{32}$/);
  }
});

test('sessions are listed, read, forked and deleted through the gateway', async () => {
  const fleet = createTestFleet(2);
  const app = createApp({ completer: gatewayOf(fleet) });
  // The fakes keep no registry, and say so.
  const answer = await app.request('/v1/sessions');
  expect(answer.status).toBe(404);
});

test('a gateway counts what went wrong with its fleet', async () => {
  const fleet = createTestFleet(2);
  fleet.replicas[0]?.kill();
  const completer = gatewayOf(fleet);
  await post(completer, HELLO);
  const metrics = await createApp({ completer }).request('/metrics');
  const text = await metrics.text();
  expect(text).toMatch(/gemlet_fleet_failed_attempts_total\{[^}]*failure="lost"\} 1\n/);
  expect(text).toMatch(/gemlet_fleet_continued_answers_total\{[^}]*\} 0\n/);
  expect(text).not.toContain('gemlet_rows');
});

test.each(['does not answer', 'falls silent in its answer'])(
  'a replica that %s is given up, and its connection with it',
  async (how) => {
    const stallMs = 1_234;
    let stalls = 0;
    const fleet = createTestFleet(2);
    const aborted: string[] = [];
    const hang = (signal: AbortSignal | null | undefined): Promise<never> =>
      new Promise((_resolve, reject) => {
        signal?.addEventListener('abort', () => {
          aborted.push(how);
          reject(signal.reason);
        });
      });
    const completer = createTestGateway(
      {
        async fetch(url, init) {
          if (!url.startsWith('http://r0/') || !url.endsWith('/generate')) {
            return fleet.fetch(url, init);
          }
          stalls++;
          if (how === 'does not answer') return hang(init.signal);
          return new Response(new ReadableStream({ pull: () => hang(init.signal) }));
        },
      },
      firstReplica(['http://r0', 'http://r1']),
      plainTable(),
      {
        stallMs,
        clock: {
          now: () => Date.now(),
          // Only the silence of the first replica is too long.
          sleep: (ms, signal) =>
            systemClock.sleep(
              ms === stallMs && stalls === 1 && aborted.length === 0 ? 1 : ms,
              signal,
            ),
        },
      },
    );
    const direct = await post(createFakeEngineCompleter().completer, HELLO);
    expect(withoutIds(await post(completer, HELLO))).toEqual(withoutIds(direct));
    expect(aborted).toEqual([how]);
  },
);
