import { expect, test } from 'vitest';
import { createApp } from '../../src/app.ts';
import { createFleetLink } from '../../src/fleet/fleet-link.ts';
import { encodeCall } from '../../src/fleet/wire-call.ts';
import { sha256Hex } from '../../src/lib/sha256-hex.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createFakeEngineCompleter } from '../support/fake-engine-completer.ts';
import { FLEET_KEYS } from '../support/fleet-harness.ts';
import { createStubCompleter } from '../support/stub-completer.ts';

const PATH = '/replica/v1/generate';
const TARGET = { url: 'http://replica', headers: {} };

function open(): {
  send: (
    path: string,
    content: Uint8Array<ArrayBuffer>,
    rest?: readonly Uint8Array[],
  ) => Promise<Response>;
  get: (path: string) => Promise<Response>;
  app: ReturnType<typeof createApp>;
} {
  const { completer } = createFakeEngineCompleter();
  const app = createApp({ completer, apiKeys: ['of a client'], fleetKeys: FLEET_KEYS });
  const link = createFleetLink({
    keys: FLEET_KEYS,
    clock: systemClock,
    fetch: async (url, init) => {
      const body = init.body === undefined ? null : await new Response(init.body).arrayBuffer();
      const headers = new Headers(init.headers);
      if (body !== null) headers.set('content-length', String(body.byteLength));
      return app.request(url, { ...init, headers, body });
    },
  });
  const { signal } = new AbortController();
  return {
    app,
    send: (path, content, rest) => link.send(TARGET, 'POST', path, content, signal, rest),
    get: (path) => link.send(TARGET, 'GET', path, new Uint8Array(0), signal),
  };
}

const PARAMS = {
  maxTokens: 2,
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  logitBias: new Map<number, number>(),
  seed: 1,
  stop: [],
  stopIds: [],
  allowedIds: null,
  minTokens: 0,
  ignoreEos: true,
  includesStop: false,
  logprobs: null,
  promptLogprobs: null,
};

function call(
  change: Partial<Parameters<typeof encodeCall>[0]> = {},
  prompt: Partial<Parameters<typeof encodeCall>[0]['prompt']> = {},
): Uint8Array<ArrayBuffer> {
  return encodeCall({
    id: 'one',
    fingerprint: null,
    prompt: {
      tokens: Int32Array.of(2, 20, 21, 22),
      images: [],
      assistantSpans: [],
      scope: '',
      ...prompt,
    },
    params: PARAMS,
    blobs: [],
    ...change,
  });
}

async function lines(response: Response): Promise<Record<string, unknown>[]> {
  const text = await response.text();
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

test('a signed call is answered with events, without an API key', async () => {
  const { send } = open();
  const response = await send(PATH, call(), []);
  expect(response.headers.get('content-type')).toBe('application/x-ndjson');
  expect(response.headers.get('x-gemlet-replica')).toMatch(/^[\w-]{36}$/);
  const types = (await lines(response)).map(({ type }) => type);
  expect(types.filter((type) => type !== 'wait')).toEqual([
    'prefill-end',
    'token',
    'token',
    'finish',
  ]);
});

test('API keys of clients open nothing here, and unsigned calls are refused', async () => {
  const { app } = open();
  const headers = { authorization: 'Bearer of a client', 'content-length': '2' };
  for (const path of ['generate', 'cancel', 'sessions']) {
    const response = await app.request(`/replica/v1/${path}`, {
      method: 'POST',
      headers,
      body: '{}',
    });
    expect([400, 401]).toContain(response.status);
    expect(await response.text()).not.toContain(FLEET_KEYS[0]);
  }
  for (const path of ['status', 'model', 'vocabulary']) {
    expect((await app.request(`/replica/v1/${path}`, { headers })).status).toBe(401);
  }
});

test('a server without fleet keys has no such routes, and one that computes nothing cannot have them', async () => {
  const { completer } = createFakeEngineCompleter();
  expect((await createApp({ completer }).request('/replica/v1/status')).status).toBe(404);
  expect(() => createApp({ completer: createStubCompleter(), fleetKeys: FLEET_KEYS })).toThrow(
    TypeError,
  );
});

test('calls that are cut off, too long, or not what they say are refused', async () => {
  const { send } = open();
  const bytes = new TextEncoder().encode('pixels');
  const sha256 = await sha256Hex(bytes);
  const image = { position: 1, image: { rgb: new Uint8Array(0), sha256 } };
  const withBlob = (sizeBytes: number, name = sha256): Uint8Array<ArrayBuffer> =>
    call({ blobs: [{ sha256: name, sizeBytes }] }, { images: [image] });
  const cases: [number, string, Uint8Array<ArrayBuffer>, Uint8Array[]][] = [
    [400, 'cut off', withBlob(7), [bytes]],
    [400, 'More bytes follow', withBlob(5, await sha256Hex(bytes.subarray(0, 5))), [bytes]],
    [400, 'not what its hash', withBlob(6, 'cd'.repeat(32)), [bytes]],
    [400, 'has a wrong version', call().map((byte, at) => (at === 15 ? 0x32 : byte)), []],
    [400, 'another length', Uint8Array.of(0, 0, 0, 2, 1), []],
  ];
  for (const [status, what, content, rest] of cases) {
    const response = await send(PATH, content, rest);
    const { error } = (await response.json()) as { error: { message: string } };
    expect([response.status, error.message]).toEqual([status, expect.stringContaining(what)]);
  }
  const missing = await send(PATH, call({}, { images: [image] }), []);
  expect([missing.status, await missing.json()]).toEqual([409, { missing: [sha256] }]);
});

test('a model that is not the one served is told apart', async () => {
  const { send } = open();
  const events = await lines(await send(PATH, call({ fingerprint: 'of another' }), []));
  expect(events.at(-1)).toMatchObject({ type: 'error', code: 'upstream_unavailable' });
});

test('the status tells the load, and the description what is served', async () => {
  const { get } = open();
  expect(await (await get('/replica/v1/status')).json()).toMatchObject({
    state: 'ready',
    fingerprint: 'the fake',
    running: 0,
    waiting: 0,
    progress: null,
  });
  expect(await (await get('/replica/v1/model')).json()).toMatchObject({
    card: { id: 'google/gemma-fake' },
    config: { text: { vocabSize: 300 } },
  });
});

test('a cancel ends the call it names', async () => {
  const { send } = open();
  const response = await send(PATH, call({ params: { ...PARAMS, maxTokens: 400 } }), []);
  const reader = response.body?.getReader();
  await reader?.read();
  const body = new TextEncoder().encode('{"id":"one"}');
  expect(await (await send('/replica/v1/cancel', body)).json()).toEqual({ cancelled: true });
  for (;;) {
    const { done } = (await reader?.read()) ?? { done: true };
    if (done) break;
  }
  expect(await (await send('/replica/v1/cancel', body)).json()).toEqual({ cancelled: false });
});
