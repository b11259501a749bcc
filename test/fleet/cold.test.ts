import { expect, test } from 'vitest';
import { createApp } from '../../src/app.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { until } from '../support/app-harness.ts';
import {
  createTestFleet,
  createTestGateway,
  firstReplica,
  LOADING_STATUS,
  plainTable,
} from '../support/fleet-harness.ts';

const BODY = JSON.stringify({
  messages: [{ role: 'user', content: 'Hello' }],
  seed: 3,
  max_tokens: 4,
  stream: true,
});
const INIT = { method: 'POST', headers: { 'content-type': 'application/json' }, body: BODY };

/** A fleet whose one replica comes up later, and which counts what it is asked until then. */
function coldFleet(): {
  fetch: (url: string, init: RequestInit) => Promise<Response>;
  asked: string[];
  /** null: nothing listens; else a replica that loads answers. */
  say(status: object | null): void;
  up(): void;
} {
  const fleet = createTestFleet(1);
  const asked: string[] = [];
  let isUp = false;
  let loading: object | null = null;
  return {
    asked,
    say(status) {
      loading = status;
    },
    up() {
      isUp = true;
    },
    async fetch(url, init) {
      if (isUp) return fleet.fetch(url, init);
      asked.push(new URL(url).pathname);
      if (loading === null) throw new TypeError('fetch failed');
      return url.endsWith('/status')
        ? Response.json(loading)
        : Response.json(
            { error: { code: 'model_loading', message: 'Loading.', param: null } },
            { status: 503 },
          );
    },
  };
}

/** Waits of the watch pass at once, all other waits never. */
const quick = {
  now: () => Date.now(),
  sleep: (ms: number, signal?: AbortSignal) =>
    ms <= 2_000 ? systemClock.sleep(0, signal) : systemClock.sleep(ms, signal),
};

test('streams of a cold fleet are held, told how far it is, and answered when it is up', async () => {
  const fleet = coldFleet();
  const completer = createTestGateway(fleet, firstReplica(['http://r0']), plainTable(), {
    clock: quick,
  });
  const app = createApp({ completer, clock: quick, stream: { graceMs: 0, heartbeatMs: 1 } });
  const responses = await Promise.all(
    Array.from({ length: 5 }, async () => app.request('/v1/chat/completions', INIT)),
  );
  const texts = responses.map((response) => response.text());
  await until(() => fleet.asked.length > 10);
  // One question at a time, however many wait.
  const generates = fleet.asked.filter((path) => path.endsWith('/generate'));
  expect(generates.length).toBeLessThanOrEqual(5);
  fleet.say(LOADING_STATUS);
  await until(() => completer.progress?.() !== null);
  expect(completer.state).toBe('loading');
  const before = fleet.asked.length;
  await until(() => fleet.asked.length > before + 5);
  fleet.up();
  for (const text of await Promise.all(texts)) {
    expect(text).toMatch(/^: /);
    expect(text).toMatch(/: loading 25% eta 8s\n/);
    expect(text).toMatch(/data: \[DONE\]\n\n$/);
    expect(text).not.toContain('"error"');
  }
  expect(completer.state).toBe('ready');
});

test('an answer that is no stream gets 503 with how long to wait, and a job waits', async () => {
  const fleet = coldFleet();
  fleet.say(LOADING_STATUS);
  const completer = createTestGateway(fleet, firstReplica(['http://r0']), plainTable(), {
    clock: quick,
  });
  const app = createApp({ completer, clock: quick, cold: { holdMs: 20 } });
  const ready = completer.ready?.();
  await until(() => completer.progress?.() !== null);
  const body = JSON.stringify({ ...JSON.parse(BODY), stream: false });
  const refused = await app.request('/v1/chat/completions', { ...INIT, body });
  expect(refused.status).toBe(503);
  expect(refused.headers.get('retry-after-ms')).toBe('7500');
  const headers = { ...INIT.headers, prefer: 'respond-async' };
  const accepted = await app.request('/v1/chat/completions', { ...INIT, headers, body });
  expect(accepted.status).toBe(202);
  const where = accepted.headers.get('location') ?? '';
  fleet.up();
  await ready;
  let job: { status?: string } = {};
  while (job.status !== 'completed') {
    job = (await (await app.request(where)).json()) as { status?: string };
    expect(job.status).not.toBe('failed');
    await new Promise((resolve) => setImmediate(resolve));
  }
});

test('tokens are counted while no replica is up', async () => {
  const completer = createTestGateway(coldFleet(), firstReplica(['http://r0']), plainTable());
  const app = createApp({ completer });
  const body = JSON.stringify({ prompt: 'Hello', add_special_tokens: false });
  const response = await app.request('/tokenize', { ...INIT, body });
  expect(await response.json()).toMatchObject({ count: 5 });
  await completer.close();
});

test('a fleet that never comes up is given up at last', async () => {
  const fleet = coldFleet();
  const completer = createTestGateway(fleet, firstReplica(['http://r0']), plainTable(), {
    clock: quick,
    coldMs: 50,
  });
  const app = createApp({ completer, clock: quick });
  const text = await (await app.request('/v1/chat/completions', INIT)).text();
  expect(text).toContain('"code":"model_loading"');
});

test('a replica that drains hands its answers over', async () => {
  const fleet = createTestFleet(
    2,
    {},
    { beforeForward: () => new Promise((go) => setImmediate(go)) },
  );
  const urls = fleet.replicas.map(({ url }) => url);
  const completer = createTestGateway(fleet, firstReplica(urls), plainTable());
  const body = JSON.stringify({ ...JSON.parse(BODY), max_tokens: 60, ignore_eos: true });
  const alone = createTestFleet(1).replicas[0]?.completer;
  const whole = alone === undefined ? null : createApp({ completer: alone });
  const expected = await (await whole?.request('/v1/chat/completions', { ...INIT, body }))?.text();
  const response = await createApp({ completer }).request('/v1/chat/completions', {
    ...INIT,
    body,
  });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (let count = 0; ; count++) {
    const { done, value } = (await reader?.read()) ?? { done: true, value: '' };
    if (done) break;
    text += value;
    if (count === 10) void fleet.replicas[0]?.completer.drain(0);
  }
  expect(words(text)).toBe(words(expected));
  expect(words(text).length).toBeGreaterThan(20);
  expect(fleet.replicas[1]?.asked).toContain('/replica/v1/generate');
});

function words(stream = ''): string {
  return [...stream.matchAll(/"content":"((?:[^"\\]|\\.)*)"/g)].map(([, word]) => word).join('');
}
