import { expect, it } from 'vitest';
import { type LoadServer, startLoadServer } from '../../infra/bench/load-server.ts';

const ENTRY = new URL('../../dist/adapters/cli/main.js', import.meta.url);
const KEY = ['--fleet-key', 'shared by gateway and replicas'];
const FLAGS = [
  '--slots',
  '2',
  '--threads',
  '1',
  '--context',
  '2048',
  '--kv-budget',
  '64MB',
  '--precision',
  'exact',
];

const LONG = {
  stream: true,
  stream_options: { include_usage: true },
  temperature: 0,
  max_tokens: 1_500,
  ignore_eos: true,
  messages: [{ role: 'user', content: 'Tell me all about turtles and bells.' }],
};

function post(url: string, body: object): Promise<Response> {
  return fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
}

interface Whole extends Usage {
  readonly text: string;
}

/** @param onFrame after each frame, with how many there were */
async function read(response: Response, onFrame?: (count: number) => void): Promise<Whole> {
  let text = '';
  let usage: Usage | null = null;
  let count = 0;
  let rest = '';
  let isDone = false;
  for await (const piece of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const frames = (rest + piece).split('\n\n');
    rest = frames.pop() ?? '';
    for (const frame of frames) {
      if (!frame.startsWith('data: ')) continue;
      if (frame === 'data: [DONE]') {
        isDone = true;
        continue;
      }
      const chunk = JSON.parse(frame.slice(6)) as {
        error?: object;
        choices: { delta: { content?: string } }[];
        usage?: Usage;
      };
      expect(chunk.error).toBeUndefined();
      text += chunk.choices[0]?.delta.content ?? '';
      usage = chunk.usage ?? usage;
      onFrame?.(++count);
    }
  }
  expect(isDone).toBe(true);
  if (usage === null) throw new Error('the stream has no usage');
  // How much was found in caches is another matter.
  const { prompt_tokens, completion_tokens } = usage;
  return { text, prompt_tokens, completion_tokens };
}

it(
  'a replica that is killed in the middle of an answer is replaced, and the client sees one answer',
  { timeout: 120_000 },
  async () => {
    const servers: LoadServer[] = [];
    try {
      const replicas: LoadServer[] = [];
      for (let count = 0; count < 2; count++) {
        const replica = await startLoadServer([...FLAGS, ...KEY], ENTRY);
        replicas.push(replica);
        servers.push(replica);
      }
      const [first, second] = replicas;
      if (first === undefined || second === undefined) throw new Error('there are no replicas');
      const alone = await read(await post(second.url, LONG));
      const addresses = replicas.flatMap(({ url }) => ['--replica', url]);
      const gateway = await startLoadServer([...addresses, ...KEY], ENTRY, 'gateway');
      servers.push(gateway);
      const undisturbed = await read(await post(gateway.url, LONG));
      expect(undisturbed).toEqual(alone);
      const kills: Promise<void>[] = [];
      const disturbed = await read(await post(gateway.url, LONG), (count) => {
        if (count === 10) kills.push(killBusy(replicas));
      });
      await Promise.all(kills);
      expect(kills).toHaveLength(1);
      expect(disturbed).toEqual(alone);
      const after = await read(await post(gateway.url, LONG));
      expect(after).toEqual(alone);
      expect(await gateway.stop()).toBe(0);
    } finally {
      await Promise.all(servers.map((server) => server.kill()));
    }
  },
);

/** What a readiness probe and a scraper learn of a gateway. */
async function probe(url: string): Promise<object> {
  const ready = await fetch(`${url}/health/ready`);
  const ping = await fetch(`${url}/ping`);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const [, fleet] = /^gemlet_fleet_state\{.*state="(\w+)"\} 1$/m.exec(metrics) ?? [];
  const body = (await ready.json()) as object;
  return { statuses: [ready.status, ping.status], metric: fleet, ...body };
}

it('a gateway is ready before its fleet and before any request, and tells when the fleet is', async () => {
  const servers: LoadServer[] = [];
  try {
    // Nobody listens on port 1.
    const nobody = ['--replica', 'http://127.0.0.1:1', ...KEY, '--ping', '/ping'];
    const cold = await startLoadServer(nobody, ENTRY, 'gateway');
    servers.push(cold);
    expect(await probe(cold.url)).toMatchObject({
      statuses: [200, 200],
      state: 'ready',
      fleet: { state: 'cold' },
      metric: 'cold',
    });
    const upstream = ['--upstream', 'http://127.0.0.1:1', '--ping', '/ping'];
    const front = await startLoadServer(upstream, ENTRY, 'gateway');
    servers.push(front);
    expect(await probe(front.url)).toMatchObject({
      statuses: [200, 200],
      fleet: { state: 'cold', replicas: null },
    });
    const replica = await startLoadServer([...FLAGS, ...KEY], ENTRY);
    servers.push(replica);
    const up = ['--replica', replica.url, '--replica', 'http://127.0.0.1:1', ...KEY];
    const gateway = await startLoadServer([...up, '--ping', '/ping'], ENTRY, 'gateway');
    servers.push(gateway);
    let seen: object;
    do seen = await probe(gateway.url);
    while (!JSON.stringify(seen).includes('"ready":1'));
    expect(seen).toMatchObject({
      statuses: [200, 200],
      fleet: { state: 'ready', replicas: { ready: 1, loading: 0 } },
      metric: 'ready',
    });
    for (const server of [cold, front, gateway]) expect(await server.stop()).toBe(0);
  } finally {
    await Promise.all(servers.map((server) => server.kill()));
  }
});

/** Kills the replica that computes now. */
async function killBusy(replicas: readonly LoadServer[]): Promise<void> {
  const busy = await Promise.all(
    replicas.map(async ({ url }) => {
      const text = await (await fetch(`${url}/metrics`)).text();
      return /^vllm:num_requests_running\{[^}]*\} [1-9]/m.test(text);
    }),
  );
  const victim = replicas[busy.indexOf(true)];
  if (victim === undefined) throw new Error('no replica computes: the answer was too short');
  await victim.kill();
}
