import { describe, expect, it } from 'vitest';
import type { Visit } from '../../src/fleet/affinity.ts';
import { createLifecycle, type LifecycleOptions } from '../../src/fleet/lifecycle.ts';
import { type AffinitySetup, describeAffinity, turnOf, visitFleet } from '../contracts/affinity.ts';
import { createFakeClock, type FakeClock } from '../support/fake-clock.ts';
import { createFakeLifecycle, type FakeLifecycleBalancer } from '../support/fake-lb-lifecycle.ts';
import { createFakeWorkers } from '../support/fake-workers.ts';

const URL = 'https://fleet.test';
const SESSION = 'aaaabbbbccccddddaaaabbbbccccdddd';
const IDLE_MS = 600_000;

function lifecycle(
  clock: FakeClock,
  more: Partial<LifecycleOptions> = {},
): AffinitySetup & {
  readonly balancer: FakeLifecycleBalancer;
} {
  const balancer = createFakeLifecycle(createFakeWorkers(3), IDLE_MS, clock);
  const open = async (): ReturnType<LifecycleOptions['open']> => ({
    token: await balancer.open(),
    expiresMs: null,
  });
  return { affinity: createLifecycle({ url: URL, open, clock, ...more }), balancer };
}

describeAffinity('lifecycle', () => lifecycle(createFakeClock()));

describe('lifecycle', () => {
  it('opens a session once and another one when it has ended', async () => {
    const clock = createFakeClock();
    const setup = lifecycle(clock);
    const first = await turnOf(setup, SESSION, null);
    const before = setup.balancer.opened.length;
    clock.advance(IDLE_MS - 1);
    const second = await visitFleet(setup, { session: SESSION, pin: first.pin });
    expect(second).toMatchObject({ worker: first.worker, lost: 'no' });
    expect(setup.balancer.opened.length).toBe(before);
    clock.advance(IDLE_MS);
    const ended = await visitFleet(setup, { session: SESSION, pin: second.pin });
    expect(ended).toMatchObject({ status: 401, lost: 'gone' });
    const third = await visitFleet(setup, { session: SESSION });
    expect(third.status).toBe(200);
  });

  it('does not use a session after the time it is good for', async () => {
    const clock = createFakeClock();
    let count = 0;
    const open = async (): ReturnType<LifecycleOptions['open']> => ({
      token: `t${++count}`,
      expiresMs: clock.now() + 1_000,
    });
    const affinity = createLifecycle({
      url: URL,
      open,
      clock,
      header: 'x-amzn-sagemaker-session-id',
      prefix: '',
    });
    const sent = async (pin: string): Promise<string | undefined> =>
      (await affinity.apply({ session: SESSION, pin, avoid: new Set(), tokens: 1 })).headers[
        'x-amzn-sagemaker-session-id'
      ];
    const pin = `boot-1 ${clock.now() + 1_000} t0`;
    expect(await sent(pin)).toBe('t0');
    clock.advance(1_000);
    expect(await sent(pin)).toBe('t1');
  });

  it('shares one session among requests without a name, also when it is asked how it is', async () => {
    const clock = createFakeClock();
    const setup = lifecycle(clock);
    expect(setup.affinity.targets()).toEqual([]);
    await Promise.all([visitFleet(setup), visitFleet(setup), visitFleet(setup)]);
    expect(setup.balancer.opened).toEqual(['token-1']);
    expect(setup.affinity.targets()[0]?.headers).toEqual({
      'modal-authorization': 'Bearer token-1',
    });
    clock.advance(IDLE_MS);
    expect(await visitFleet(setup)).toMatchObject({ status: 401, lost: 'gone' });
    expect((await visitFleet(setup)).status).toBe(200);
  });

  it('takes a refusal of what never worked for a mistake, not for its end', async () => {
    const setup = lifecycle(createFakeClock(), { prefix: 'Basic ' });
    expect(await visitFleet(setup)).toMatchObject({ status: 401, lost: 'no' });
  });

  it('ends with the signal, and says that a token is none without saying the token', async () => {
    const clock = createFakeClock();
    const open = (): Promise<never> => new Promise(() => undefined);
    const stuck = createLifecycle({ url: URL, open, clock });
    const visit: Visit = { session: null, pin: null, avoid: new Set(), tokens: 1 };
    const stop = new AbortController();
    const waiting = stuck.apply(visit, stop.signal);
    stop.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    const bad = createLifecycle({
      url: URL,
      open: async () => ({ token: 'a\r\nb: c', expiresMs: null }),
      clock,
    });
    await expect(bad.apply({ ...visit, session: SESSION })).rejects.toThrow(/printable/);
  });
});
