import { expect, it } from 'vitest';
import { parseGatewayOptions } from '../../../adapters/cli/gateway-options.ts';
import { UsageError } from '../../../adapters/cli/read-options.ts';

const KEY = '--fleet-key 0123456789abcdef';
const parse = (line: string, environment: Record<string, string> = {}) =>
  parseGatewayOptions(line.split(' '), environment);

function parseFleet(line: string, environment: Record<string, string> = {}) {
  const { target, addresses, ...server } = parse(line, environment);
  if (target.type !== 'fleet') throw new Error('this is no fleet');
  return { ...server, gateway: target.gateway, replicas: addresses };
}

it('takes replicas and keys from options or the environment', () => {
  const { gateway, replicas, port, pingPath } = parseFleet(
    `--replica http://a:1 --replica http://b:2 ${KEY} --port 1 --ping /ping`,
  );
  expect(replicas).toEqual(['http://a:1', 'http://b:2']);
  expect(gateway.affinity.targets().map(({ url }) => url)).toEqual(['http://a:1', 'http://b:2']);
  expect([port, pingPath, gateway.pollMs]).toEqual([1, '/ping', 2000]);
  const fromEnvironment = parseFleet('--port 0', {
    GEMLET_REPLICA: 'http://a:1, http://c:3',
    GEMLET_FLEET_KEY: '0123456789abcdef,an older one that goes',
  });
  expect(fromEnvironment.replicas).toEqual(['http://a:1', 'http://c:3']);
  expect(fromEnvironment.gateway.keys).toEqual(['0123456789abcdef', 'an older one that goes']);
});

it('speaks to the balancers of platforms, with their headers, and does not keep them awake', async () => {
  for (const kind of ['runpod', 'modal', 'baseten', 'cookie']) {
    const { gateway } = parseFleet(
      `--affinity ${kind} --replica https://x.example ${KEY} --replica-header authorization:of-the-platform`,
    );
    expect(gateway.pollMs).toBeNull();
    const direction = await gateway.affinity.apply({
      session: 'a1b2',
      pin: null,
      avoid: new Set(),
      tokens: 1,
    });
    expect(direction.url).toBe('https://x.example');
    expect(direction.headers['authorization']).toBe('of-the-platform');
    direction.done('ok');
  }
});

it('describes the model by a bundle where one is named', () => {
  const { gateway } = parseFleet(
    `--replica http://a ${KEY} --bundle s3://b/g --name gemma --context 4096`,
  );
  expect(gateway.bundle).toEqual({ where: 's3://b/g', id: 'gemma', contextTokens: 4096 });
});

it('takes another server instead of a fleet', () => {
  const { target, addresses } = parse(
    '--upstream http://b:8000 --upstream-kind vllm --upstream-model google/gemma --bundle /tmp/b',
    { GEMLET_UPSTREAM_KEY: 'secret' },
  );
  expect(target).toEqual({
    type: 'upstream',
    upstream: {
      baseUrl: 'http://b:8000',
      apiKey: 'secret',
      kind: 'vllm',
      model: 'google/gemma',
      bundle: '/tmp/b',
    },
  });
  expect(addresses).toEqual(['http://b:8000']);
});

it('tells another server who we are, and what it does not tell of itself', () => {
  const line =
    '--upstream http://b --upstream-session-header x-user-id --context 4096 --name gemma';
  const { target } = parse(line, {
    GEMLET_UPSTREAM_HEADER: 'Modal-Key: wk-1, Modal-Secret: a:b',
  });
  expect(target).toEqual({
    type: 'upstream',
    upstream: {
      baseUrl: 'http://b',
      headers: { 'Modal-Key': 'wk-1', 'Modal-Secret': 'a:b' },
      sessionHeader: 'x-user-id',
      id: 'gemma',
      contextTokens: 4096,
    },
  });
});

it.each([
  [KEY, 'Say where requests go'],
  [`--replica http://a ${KEY} --upstream http://b`, 'not both'],
  ['--upstream http://b --upstream-kind magic', '--upstream-kind must be'],
  ['--upstream http://b --replica-header a:b', 'Use --upstream-header'],
  ['--upstream http://b --affinity modal', '--affinity is for replicas'],
  [`--replica http://a ${KEY} --upstream-key k`, '--upstream-key is for an --upstream'],
  ['--upstream http://b --upstream-header nonsense', '"name: value"'],
  ['--upstream http://b --upstream-header a/b:c', '"name: value"'],
  ['--upstream http://b --upstream-session-header a/b', 'the name of a header'],
  ['--replica http://a', 'Say which key'],
  [`--replica http://a ${KEY} --affinity magic`, '--affinity must be'],
  [`--replica http://a --replica http://b ${KEY} --affinity modal`, 'one address'],
  [`--replica http://a ${KEY} --replica-header nonsense`, '"name: value"'],
  [`--replica http://a ${KEY} more`, 'too many'],
])('refuses %s', (line, message) => {
  expect(() => parse(line)).toThrow(UsageError);
  expect(() => parse(line)).toThrow(message);
});

it.each([
  ['--replica http://a --fleet-key short', '16 characters'],
  [`--replica ftp://a ${KEY}`, 'http'],
  [`--replica http://a --replica http://a/ ${KEY}`, 'already'],
])('refuses what is no address or key: %s', (line, message) => {
  expect(() => parse(line)).toThrow(message);
});
