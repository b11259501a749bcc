import { expect, it } from 'vitest';
import { createFleetWatch } from '../../src/fleet/fleet-watch.ts';
import type { FleetEvent } from '../../src/fleet/remote-engine.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { firstReplica } from '../support/fleet-harness.ts';

it('says why a replica cannot be used, once a minute while it lasts, and when it is back', async () => {
  const clock = createFakeClock();
  const events: FleetEvent[] = [];
  const error = new TypeError('fetch failed');
  let answer: () => Promise<Response> = () => Promise.reject(error);
  const watch = createFleetWatch({
    affinity: firstReplica(['http://r0']),
    link: { send: () => answer() },
    clock,
    onEvent: (event) => void events.push(event),
  });
  const url = 'http://r0';
  await watch.look();
  await watch.look();
  expect(events).toEqual([{ type: 'replica-down', url, error }]);
  clock.advance(60_000);
  answer = async () => new Response(null, { status: 401 });
  await watch.look();
  expect(events[1]).toEqual({ type: 'replica-down', url, error: new Error('it answered 401') });
  answer = async () => Response.json({ replica: 'a', state: 'ready' });
  await watch.look();
  await watch.look();
  expect(events.slice(2)).toEqual([{ type: 'replica-up', url }]);
  watch.close();
});

it('blames no replica for a question that was given up', async () => {
  const events: FleetEvent[] = [];
  const watch = createFleetWatch({
    affinity: firstReplica(['http://r0']),
    link: {
      send: (_target, _method, _path, _content, signal) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        }),
    },
    clock: createFakeClock(),
    onEvent: (event) => void events.push(event),
  });
  const looking = watch.look();
  watch.close();
  await expect(looking).rejects.toThrow('The gateway is closed.');
  expect(events).toEqual([]);
});
