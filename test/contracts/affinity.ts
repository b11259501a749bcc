import { beforeEach, describe, expect, it } from 'vitest';
import type { Affinity, AttemptEnd, Lost, Visit } from '../../src/fleet/affinity.ts';
import { type FakeBalancer, restart } from '../support/fake-workers.ts';

/** An affinity and the load balancer it speaks to, with three workers that are up. */
export interface AffinitySetup {
  readonly affinity: Affinity;
  readonly balancer: FakeBalancer;
}

export interface Turn {
  readonly status: number;
  /** null: nobody answered. */
  readonly worker: string | null;
  readonly lost: Lost;
  /** Where it was to go, as far as that was known. */
  readonly replica: string | null;
  readonly pin: string | null;
}

const SESSION = '0123456789abcdef0123456789abcdef';
/** As a table might give back that others write to. */
const HOSTILE_PINS = [
  '',
  ' ',
  'boot\r\nx-evil: 1 worker-0',
  'boot-1 worker-0\r\nx-evil: 1',
  'boot-1 strict worker-0; a=b\u0000',
  'boot-1 http://evil.test',
  'boot-1 a=1;\tx-evil=2',
  'boot-1  token\u007f',
  `boot-1 ${'x'.repeat(100_000)}`,
  'boot-1 \u{1f48e}',
];

/** One attempt, as the remote engine makes it. */
export async function visitFleet(
  { affinity, balancer }: AffinitySetup,
  visit: Partial<Visit> = {},
): Promise<Turn> {
  const whole: Visit = { session: null, pin: null, avoid: new Set(), tokens: 1_000, ...visit };
  const direction = await affinity.apply(whole);
  const { replica } = direction;
  let end: AttemptEnd = 'failed';
  try {
    const answer = balancer.fetch(direction.url, direction.headers);
    const lost = affinity.lost(answer, whole);
    end = answer.ok ? 'ok' : 'refused';
    const pin = answer.ok ? affinity.learn(answer, whole, direction) : null;
    const worker = balancer.visits.at(-1)?.worker ?? null;
    return { status: answer.status, worker, lost, pin, replica };
  } catch {
    return { status: 0, worker: null, lost: 'no', pin: null, replica };
  } finally {
    direction.done(end);
  }
}

/** A turn with what the remote engine does when an attempt fails. */
export async function turnOf(
  setup: AffinitySetup,
  session: string,
  pin: string | null,
): Promise<Turn> {
  const avoid = new Set<string>();
  let known = pin;
  for (let attempt = 0; attempt < 6; attempt++) {
    const turn = await visitFleet(setup, { session, pin: known, avoid });
    if (turn.status === 200) return turn;
    if (turn.lost === 'gone') known = null;
    else if (turn.replica !== null) avoid.add(turn.replica);
  }
  throw new Error('the turn failed');
}

/** Cases that every `Affinity` passes. */
export function describeAffinity(name: string, make: () => AffinitySetup): void {
  describe(`${name} as an Affinity`, () => {
    let setup: AffinitySetup;
    beforeEach(() => {
      setup = make();
    });
    const workerOf = (id: string | null): FakeBalancer['workers'][number] => {
      const worker = setup.balancer.workers.find((one) => one.id === id);
      if (worker === undefined) throw new Error(`there is no ${id}`);
      return worker;
    };

    it('keeps a conversation where it is while nothing changes', async () => {
      const first = await visitFleet(setup, { session: SESSION });
      expect(first).toMatchObject({ status: 200, lost: 'no' });
      expect(first.pin).not.toBeNull();
      let { pin } = first;
      for (let turn = 0; turn < 5; turn++) {
        const next = await visitFleet(setup, { session: SESSION, pin });
        expect(next).toMatchObject({ status: 200, worker: first.worker, lost: 'no' });
        ({ pin } = next);
      }
    });

    it('goes on after the loss of its replica, tells that it moved, and stays there', async () => {
      const first = await visitFleet(setup, { session: SESSION });
      workerOf(first.worker).isUp = false;
      const second = await turnOf(setup, SESSION, first.pin);
      expect(second.status).toBe(200);
      expect(second.worker).not.toBe(first.worker);
      const third = await visitFleet(setup, { session: SESSION, pin: second.pin });
      expect(third).toMatchObject({ status: 200, worker: second.worker, lost: 'no' });
    });

    it('tells that a conversation moved when another process answers at the same place', async () => {
      const first = await visitFleet(setup, { session: SESSION });
      restart(workerOf(first.worker));
      const second = await visitFleet(setup, { session: SESSION, pin: first.pin });
      expect(second).toMatchObject({ status: 200, lost: 'moved' });
      const third = await visitFleet(setup, { session: SESSION, pin: second.pin });
      expect(third.lost).toBe('no');
    });

    it('pins nothing for requests without a session', async () => {
      for (let request = 0; request < 5; request++) {
        const turn = await visitFleet(setup);
        expect(turn).toMatchObject({ status: 200, pin: null, lost: 'no' });
      }
      const { headers } = setup.balancer.visits.at(-1) ?? {};
      expect([...(headers ?? [])].flat().join()).not.toContain('worker-');
    });

    it('sends no pin that is none, and answers as without one', async () => {
      for (const pin of HOSTILE_PINS) {
        const turn = await visitFleet(setup, { session: SESSION, pin });
        expect(turn.status).toBe(200);
        expect(turn.pin).not.toContain('evil');
        const sent = [...(setup.balancer.visits.at(-1)?.headers ?? [])].flat().join('\n');
        expect(sent).not.toMatch(/evil|x{100}|[^\n\x20-\x7e]/);
      }
    });

    it('refuses what is no base URL or header in its answers: pins stay bounded', async () => {
      const { affinity } = setup;
      const visit: Visit = { session: SESSION, pin: null, avoid: new Set(), tokens: 1 };
      const direction = await affinity.apply(visit);
      const headers = new Headers({ 'x-gemlet-replica': 'r'.repeat(10_000) });
      headers.set('x-runpod-worker-id', 'w'.repeat(10_000));
      headers.append('set-cookie', `big=${'c'.repeat(10_000)}`);
      for (let at = 0; at < 1_000; at++) headers.append('set-cookie', `c${at}=value`);
      const pin = affinity.learn({ status: 200, headers }, visit, direction);
      direction.done('ok');
      expect(pin?.length ?? 0).toBeLessThanOrEqual(4_096);
      const next = await visitFleet(setup, { session: SESSION, pin });
      expect(next.status).toBe(200);
    });

    it('tells a balancer at most the name of the session, and its targets nothing', async () => {
      const { pin } = await visitFleet(setup, { session: SESSION });
      await visitFleet(setup, { session: SESSION, pin });
      for (const { url, headers } of setup.affinity.targets()) {
        expect(`${url} ${JSON.stringify(headers)}`).not.toContain(SESSION);
      }
      const allowed = ['cookie', 'modal-authorization', 'modal-session-id', 'x-runpod-worker-id'];
      for (const { headers } of setup.balancer.visits) {
        expect(allowed).toEqual(expect.arrayContaining([...headers.keys()]));
      }
    });

    it('may be told the end more than once', async () => {
      const visit: Visit = { session: SESSION, pin: null, avoid: new Set(), tokens: 1 };
      const direction = await setup.affinity.apply(visit);
      direction.done('ok');
      direction.done('failed');
      expect((await visitFleet(setup, { session: SESSION })).status).toBe(200);
    });
  });
}
