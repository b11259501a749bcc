import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  EDGE_KEY,
  type EdgeFleet,
  type EdgeReplica,
  startEdgeFleet,
} from '../../support/edge-fleet.ts';
import { readImageFile } from '../../support/golden-images.ts';
import { PNG_COLOR, writePng } from '../../support/png-writer.ts';

interface Answer {
  readonly choices: readonly { readonly message: { readonly content: string } }[];
  readonly usage: {
    readonly completion_tokens: number;
    readonly prompt_tokens_details: { readonly cached_tokens: number };
  };
  readonly error?: { readonly code: string; readonly message: string };
}

interface Message {
  readonly role: string;
  readonly content: unknown;
}

const CHAT = '/v1/chat/completions';
const HEADERS = { authorization: `Bearer ${EDGE_KEY}`, 'content-type': 'application/json' };
const HELLO: Message = { role: 'user', content: 'Hello there' };

async function post(url: string, body: object, init: RequestInit = {}): Promise<Response> {
  return fetch(`${url}${CHAT}`, {
    method: 'POST',
    body: JSON.stringify({ seed: 7, ignore_eos: true, ...body }),
    ...init,
    headers: { ...HEADERS, ...(init.headers as Record<string, string>) },
  });
}

async function chat(
  url: string,
  messages: readonly Message[],
  session: string | null = null,
  more: object = {},
): Promise<Answer> {
  const headers = session === null ? {} : { 'x-session-id': session };
  const response = await post(url, { messages, max_tokens: 12, ...more }, { headers });
  const text = await response.text();
  expect([response.status, text]).toEqual([200, expect.stringMatching(/^\{/)]);
  return JSON.parse(text) as Answer;
}

const textOf = (answer: Answer): string => answer.choices[0]?.message.content ?? '';

function imageMessage(name: string, file: Uint8Array = readImageFile(name)): Message {
  const type = name.endsWith('.jpg') ? 'jpeg' : name.slice(name.lastIndexOf('.') + 1);
  const url = `data:image/${type};base64,${Buffer.from(file).toString('base64')}`;
  return { role: 'user', content: [{ type: 'image_url', image_url: { url } }] };
}

/** Times that a replica was asked to compute. */
const generated = ({ asked }: EdgeReplica): number =>
  asked.filter((path) => path === '/replica/v1/generate').length;

function hold(): { readonly held: Promise<void>; readonly release: () => void } {
  let resolve: (() => void) | undefined;
  const held = new Promise<void>((done) => {
    resolve = done;
  });
  return { held, release: () => resolve?.() };
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 1));
}

describe('the Worker in workerd', () => {
  let fleet: EdgeFleet;
  let url: string;
  /** Called before each step of any replica. */
  let onStep: (() => void | Promise<void>) | null = null;

  beforeAll(async () => {
    fleet = await startEdgeFleet({
      replicaCount: 2,
      contextTokens: 4096,
      // The golden pictures' 45 x 31 are decoded at the edge.
      vars: { MAX_DECODE_PIXELS: '1395' },
      backend: { beforeForward: () => onStep?.() },
    });
    ({ url } = fleet.worker);
  });
  afterAll(() => fleet?.close());

  const asked = (): number => fleet.replicas.reduce((sum, each) => sum + generated(each), 0);

  it.each(['baseline.jpg', 'lossy.webp', 'gray-alpha.png', 'animated.gif', 'orientation-6.jpg'])(
    'sees in %s what the replica itself would see',
    async (file) => {
      const messages = [imageMessage(file)];
      const direct = await chat(fleet.replicas[0]?.url ?? '', messages);
      const remote = await chat(url, messages);
      expect(textOf(remote)).toBe(textOf(direct));
      const other = await chat(url, [imageMessage('gray.jpg')]);
      expect(textOf(other)).not.toBe(textOf(remote));
    },
  );

  it('fetches no picture from the host it answers on', async () => {
    const image = { type: 'image_url', image_url: { url: 'https://edge.example/a.png' } };
    const body = JSON.stringify({ messages: [{ role: 'user', content: [image] }] });
    const headers = { ...HEADERS, host: 'edge.example' };
    const text = await new Promise<string>((resolve, reject) => {
      const asking = request(`${url}${CHAT}`, { method: 'POST', headers }, (response) => {
        response.toArray().then((parts) => resolve(parts.join('')), reject);
      });
      asking.on('error', reject).end(body);
    });
    expect(text).toContain('a host that this server does not fetch from');
  });

  it('sends on what is too large to be decoded at the edge', async () => {
    const raw = Uint8Array.from({ length: 40 * 121 }, (_, at) => (at % 121 === 0 ? 0 : at % 251));
    const file = writePng({ width: 40, height: 40, depth: 8, color: PNG_COLOR.rgb }, raw);
    const messages = [imageMessage('png', file)];
    const direct = await chat(fleet.replicas[0]?.url ?? '', messages);
    expect(textOf(await chat(url, messages))).toBe(textOf(direct));
  });

  it('refuses a damaged picture before any replica is asked', async () => {
    const before = fleet.replicas.map(generated);
    const content = [{ type: 'image_url', image_url: { url: 'data:image/jpeg;base64,/9j/4AAQ' } }];
    const response = await post(url, { messages: [{ role: 'user', content }] });
    const { error } = (await response.json()) as Answer;
    expect([response.status, error?.code]).toEqual([400, 'invalid_image']);
    expect(fleet.replicas.map(generated)).toEqual(before);
  });

  it('brings the turns of a session to one replica, which knows the turn before', async () => {
    for (let number = 0; number < 4; number++) {
      const before = fleet.replicas.map(generated);
      const first = await chat(url, [HELLO], `talk-${number}`);
      const messages = [
        HELLO,
        { role: 'assistant', content: textOf(first) },
        { role: 'user', content: 'And then?' },
      ];
      const second = await chat(url, messages, `talk-${number}`);
      const counts = fleet.replicas.map((replica, at) => generated(replica) - (before[at] ?? 0));
      expect(counts.toSorted((a, b) => a - b)).toEqual([0, 2]);
      expect(second.usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(20);
    }
  });

  it('computes one turn of a session at a time', async () => {
    const before = asked();
    const apart = hold();
    onStep = () => apart.held;
    const others = ['apart-1', 'apart-2', 'apart-3'].map((session) => chat(url, [HELLO], session));
    await until(() => asked() === before + 3);
    apart.release();
    await Promise.all(others);

    const together = hold();
    onStep = () => together.held;
    const turns = [1, 2, 3].map(() => chat(url, [HELLO], 'together'));
    await until(() => asked() > before + 3);
    try {
      // Time enough for the others to get as far, if they may.
      for (let count = 0; count < 30; count++) {
        await fetch(`${url}/v1/models`, { headers: HEADERS });
      }
      expect(asked()).toBe(before + 4);
    } finally {
      together.release();
    }
    await Promise.all(turns);
    onStep = null;
    expect(asked()).toBe(before + 6);
  });

  it('stops the replica and frees the session when the reader of a stream leaves', async () => {
    onStep = () => new Promise((resolve) => setImmediate(resolve));
    const response = await post(
      url,
      { messages: [HELLO], stream: true, max_tokens: 4000 },
      { headers: { 'x-session-id': 'left' } },
    );
    const reader = response.body?.getReader();
    await reader?.read();
    await reader?.cancel();
    await until(() => fleet.replicas.every(({ completer }) => completer.stats?.()?.running === 0));
    onStep = null;
    // A turn that was not ended would hold its lease for longer than this.
    const next = await post(
      url,
      { messages: [HELLO], max_tokens: 2 },
      { headers: { 'x-session-id': 'left' }, signal: AbortSignal.timeout(8_000) },
    );
    expect(next.status).toBe(200);
  });

  it('goes on with another replica when the one of the session is lost', async () => {
    const alone = await chat(url, [HELLO]);
    const before = fleet.replicas.map(generated);
    await chat(url, [HELLO], 'moves');
    const at = fleet.replicas.findIndex(
      (replica, index) => generated(replica) > (before[index] ?? 0),
    );
    await fleet.replicas[at]?.close();
    const after = await chat(url, [HELLO], 'moves');
    expect(textOf(after)).toBe(textOf(alone));
    expect(generated(fleet.replicas[1 - at] as EdgeReplica)).toBeGreaterThan(before[1 - at] ?? 0);
  });
});

it('a Worker with a limit refuses the key that comes too often, and says when to come again', async () => {
  const fleet = await startEdgeFleet({ limitPerMinute: 1 });
  try {
    const paths = ['/v1/models', '/v1/models', '/v1/models'];
    const statuses: number[] = [];
    for (const path of paths) {
      const response = await fetch(`${fleet.worker.url}${path}`, { headers: HEADERS });
      await response.text();
      statuses.push(response.status);
      if (response.status === 429) expect(response.headers.get('retry-after-ms')).toBe('10000');
    }
    // One at least passes, whatever minute begins meanwhile.
    expect([statuses[0], statuses.includes(429)]).toEqual([200, true]);
    // Who has no right key has another limit, by address.
    expect((await fetch(`${fleet.worker.url}/v1/models`)).status).toBe(401);
  } finally {
    await fleet.close();
  }
});

it('a Worker is ready before any of its replicas is', async () => {
  // Nobody listens on port 1.
  const fleet = await startEdgeFleet({ vars: { REPLICAS: 'http://127.0.0.1:1' } });
  try {
    for (const path of ['/health/ready', '/health/startup']) {
      const response = await fetch(`${fleet.worker.url}${path}`, { headers: HEADERS });
      expect(response.status).toBe(200);
      expect(await response.json()).toEqual({
        status: 'ok',
        state: 'ready',
        fleet: { state: 'cold', replicas: null },
      });
    }
  } finally {
    await fleet.close();
  }
});

describe('a Worker that is not set up', () => {
  it('says which variable is at fault, and never its value', async () => {
    const fleet = await startEdgeFleet({ vars: { FLEET_KEYS: 'short-secret' } });
    try {
      const response = await post(fleet.worker.url, { messages: [HELLO] });
      const { error } = (await response.json()) as Answer;
      expect([response.status, error?.code]).toEqual([500, 'backend_unavailable']);
      expect(error?.message).toContain('FLEET_KEYS must be 16 characters or longer');
      expect(error?.message).not.toContain('short-secret');
    } finally {
      await fleet.close();
    }
  });

  it('tries again to read a model that was not there, once it is', async () => {
    const fleet = await startEdgeFleet({ vars: { BUNDLE: 'later' } });
    try {
      const early = await post(fleet.worker.url, { messages: [HELLO] });
      expect(await early.text()).toContain('gemlet pack');
      expect(early.status).toBe(500);
      const { bucket } = fleet.worker;
      for (const { key } of (await bucket.list({ prefix: 'models/' })).objects) {
        const object = await bucket.get(key);
        const bytes = (await object?.arrayBuffer()) ?? new ArrayBuffer(0);
        await bucket.put(key.replace('models/edge', 'later'), bytes);
      }
      expect(textOf(await chat(fleet.worker.url, [HELLO]))).not.toBe('');
    } finally {
      await fleet.close();
    }
  });
});
