import { expect, it } from 'vitest';
import { createFleetWatch, type FleetWatch } from '../../src/fleet/fleet-watch.ts';
import type { FleetLink } from '../../src/fleet/fleet-link.ts';
import type { FleetEvent } from '../../src/fleet/remote-engine.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { firstReplica } from '../support/fleet-harness.ts';

const POLL_MS = 1_000;
const STATUS = {
  replica: 'a',
  state: 'ready',
  fingerprint: null,
  running: 0,
  waiting: 0,
  slots: 4,
  progress: null,
};

async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** A watch that asks one replica once a second. */
function watching(send: FleetLink['send'], clock: Clock, events: FleetEvent[]): FleetWatch {
  return createFleetWatch({
    affinity: firstReplica(['http://r0']),
    link: { send },
    clock,
    pollMs: POLL_MS,
    onEvent: (event) => void events.push(event),
  });
}

it('says why a replica cannot be used, once a minute while it lasts, and when it is back', async () => {
  const clock = createFakeClock();
  const events: FleetEvent[] = [];
  const error = new TypeError('fetch failed');
  let answer: () => Promise<Response> = () => Promise.reject(error);
  const watch = watching(() => answer(), clock, events);
  const url = 'http://r0';
  const look = async (): Promise<void> => {
    clock.advance(POLL_MS);
    await settle();
  };
  await settle();
  await look();
  expect(events).toEqual([{ type: 'replica-down', url, error }]);
  clock.advance(60_000);
  answer = async () => new Response(null, { status: 401 });
  await look();
  expect(events[1]).toEqual({ type: 'replica-down', url, error: new Error('it answered 401') });
  answer = async () => Response.json(STATUS);
  await look();
  await look();
  expect(events.slice(2)).toEqual([{ type: 'replica-up', url }]);
  watch.close();
});

it('says of a replica that answers as none does that it cannot be used', async () => {
  const events: FleetEvent[] = [];
  const answer = async (): Promise<Response> => Response.json({ ...STATUS, slots: 'many' });
  const watch = watching(answer, createFakeClock(), events);
  await settle();
  const error = new Error('it answered as no replica does');
  expect(events).toEqual([{ type: 'replica-down', url: 'http://r0', error }]);
  watch.close();
});

it('blames no replica for a question that was given up', async () => {
  const events: FleetEvent[] = [];
  const watch = watching(
    (_target, _method, _path, _content, signal) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      }),
    createFakeClock(),
    events,
  );
  await settle();
  watch.close();
  await settle();
  expect(events).toEqual([]);
});
