import { expect, test } from 'vitest';
import { createApp } from '../../src/app.ts';
import type { ReplicaStatus } from '../../src/fleet/affinity.ts';
import { createPool } from '../../src/fleet/pool.ts';
import { createNodeImageDecoder } from '../../adapters/node/image-decoder.ts';
import { prepareWith } from '../../src/image/prepare-picture.ts';
import { createRemoteCompleter } from '../../src/fleet/remote-completer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { until } from '../support/app-harness.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import {
  createTestFleet,
  FLEET_KEYS,
  createTestGateway,
  firstReplica,
  LOADING_STATUS,
  plainTable,
} from '../support/fleet-harness.ts';

const PROBES = ['/health/startup', '/health/ready', '/health/live', '/ping'];
const URLS = ['http://r0', 'http://r1', 'http://r2'];
/** Replicas that say what they are told to say; those of whom nothing is said are silent for good. */
function saying(said: Map<string, Partial<ReplicaStatus> | null>): {
  fetch(url: string, init: RequestInit): Promise<Response>;
} {
  return {
    async fetch(url) {
      const status = said.get(new URL(url).origin);
      if (status === undefined) return new Promise(() => undefined);
      if (status === null) throw new TypeError('fetch failed');
      return Response.json({ ...LOADING_STATUS, ...status });
    },
  };
}

test('a gateway is ready whatever its fleet does, and tells how that is', async () => {
  const clock = createFakeClock();
  const said = new Map<string, Partial<ReplicaStatus> | null>(URLS.map((url) => [url, null]));
  const completer = createTestGateway(
    saying(said),
    createPool({ replicas: URLS, clock }),
    plainTable(),
    { clock, pollMs: 2_000 },
  );
  const app = createApp({ completer, clock, pingPath: '/ping' });
  const probe = async (): Promise<number[]> =>
    Promise.all(PROBES.map(async (path) => (await app.request(path)).status));
  const health = async (): Promise<unknown> => (await app.request('/health/ready')).json();
  const looks = async (): Promise<void> => {
    await until(() => clock.sleeping() === 1);
    clock.advance(2_000);
    await until(() => clock.sleeping() === 1);
  };
  const none = { ready: 0, idle: 0, loading: 0, draining: 0, unreachable: 0 };

  await looks();
  expect(await probe()).toEqual([200, 200, 200, 200]);
  expect(await health()).toEqual({
    status: 'ok',
    state: 'ready',
    fleet: { state: 'cold', replicas: { ...none, unreachable: 3 } },
  });

  said.set('http://r1', {});
  await looks();
  expect(await probe()).toEqual([200, 200, 200, 200]);
  expect(await health()).toMatchObject({
    state: 'ready',
    fleet: {
      state: 'loading',
      progress: { phase: 'downloading', loaded_bytes: 25, eta_ms: 7_500 },
      replicas: { ...none, loading: 1, unreachable: 2 },
    },
  });
  const metrics = await (await app.request('/metrics')).text();
  expect(metrics).toMatch(/^gemlet_state\{model_name="",state="ready"\} 1$/m);
  expect(metrics).toMatch(/^gemlet_fleet_state\{model_name="",state="loading"\} 1$/m);
  expect(metrics).toMatch(/^gemlet_fleet_replicas\{model_name="",state="unreachable"\} 2$/m);

  said.set('http://r1', { state: 'draining' });
  await looks();
  expect(await health()).toMatchObject({ fleet: { state: 'draining' } });
  said.set('http://r2', { state: 'ready', progress: null });
  await looks();
  expect(await health()).toMatchObject({
    fleet: { state: 'ready', replicas: { ...none, ready: 1, draining: 1, unreachable: 1 } },
  });

  await completer.drain(0);
  expect(await probe()).toEqual([200, 503, 200, 503]);
  await completer.close();
  expect(await probe()).toEqual([200, 503, 503, 503]);
});

test('requests to a gateway that is ready still wait for its cold fleet', async () => {
  const clock = createFakeClock();
  const said = new Map(URLS.map((url) => [url, null]));
  const completer = createTestGateway(saying(said), firstReplica(URLS), plainTable(), { clock });
  const app = createApp({ completer, clock });
  expect((await app.request('/health/ready')).status).toBe(200);
  const body = JSON.stringify({ messages: [{ role: 'user', content: 'Hi' }], stream: true });
  const headers = { 'content-type': 'application/json' };
  const response = await app.request('/v1/chat/completions', { method: 'POST', headers, body });
  const reader = response.body?.getReader();
  expect(new TextDecoder().decode((await reader?.read())?.value)).toMatch(/^: /);
  await reader?.cancel();
  await completer.close();
});

test('one silent replica delays neither those who wait nor what is known of the others', async () => {
  const clock = createFakeClock();
  const said = new Map<string, Partial<ReplicaStatus> | null>([
    ['http://r1', null],
    ['http://r2', null],
  ]);
  const pool = createPool({ replicas: URLS, clock });
  const completer = createTestGateway(saying(said), pool, plainTable(), { clock });
  const ready = completer.ready?.();
  const refused = (): number => completer.fleet?.().replicas?.unreachable ?? 0;
  await until(() => refused() === 2);
  said.set('http://r2', { state: 'ready', progress: null });
  // Far less than what a silent one is given.
  clock.advance(100);
  await ready;
  expect(completer.fleet?.()).toMatchObject({ state: 'ready', replicas: { ready: 1 } });
  await completer.close();
});

test('a fleet that goes cold again is expected back after the time that it took before', async () => {
  const clock = createFakeClock();
  const said = new Map<string, Partial<ReplicaStatus> | null>([['http://r0', null]]);
  const completer = createTestGateway(saying(said), firstReplica(['http://r0']), plainTable(), {
    clock,
  });
  const app = createApp({ completer, clock, cold: { holdMs: 30_000 } });
  const body = JSON.stringify({ messages: [{ role: 'user', content: 'Hi' }] });
  const headers = { 'content-type': 'application/json' };
  const boot = async (seconds: number): Promise<number> => {
    said.set('http://r0', null);
    const refused = app.request('/v1/chat/completions', { method: 'POST', headers, body });
    await until(() => clock.sleeping() >= 3);
    for (let second = 0; second < seconds; second++) {
      clock.advance(1_000);
      await until(() => clock.sleeping() > 0);
    }
    said.set('http://r0', { state: 'ready', progress: null });
    clock.advance(2_000);
    await until(() => completer.state === 'ready');
    return Number((await refused).headers.get('retry-after-ms'));
  };
  expect(await boot(50)).toBe(30_000);
  // Nobody has asked for long: it may have gone.
  clock.advance(6 * 60_000);
  expect(completer.state).toBe('idle');
  // 50 s less 30 s, and what lies between two looks.
  const restMs = await boot(50);
  expect(restMs).toBeGreaterThanOrEqual(20_000);
  expect(restMs).toBeLessThanOrEqual(22_000);
  await completer.close();
});

test('a fleet is described by a replica that is up, not by one that is silent', async () => {
  const fleet = createTestFleet(1);
  const gateway = createRemoteCompleter({
    affinity: firstReplica(['http://silent', 'http://r0']),
    sessions: plainTable(),
    keys: FLEET_KEYS,
    clock: systemClock,
    prepare: prepareWith(createNodeImageDecoder()),
    fetchUrl: null,
    fetch: (url, init) =>
      url.startsWith('http://r0/') ? fleet.fetch(url, init) : new Promise(() => undefined),
  });
  // The fake engine describes nothing, and says so: what matters is who was asked, and that it ends.
  await expect(gateway.describe?.()).rejects.toMatchObject({ tag: 'gemlet.error' });
  expect(fleet.replicas[0]?.asked).toContain('/replica/v1/model');
  await gateway.close();
});
