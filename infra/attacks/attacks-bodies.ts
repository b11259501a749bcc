import type { Attack } from './attack.ts';
import { CHAT } from './attacks-work.ts';

/** Under the largest body that is taken by default. */
const BODY_BYTES = 31_500_000;

/** Bodies that are large, or small on the wire and large in memory. */
export const BODY_ATTACKS: readonly Attack[] = [
  bodies('body-objects', 'M1', 'millions of empty objects in a field that is ignored', () =>
    filled('{"messages":[{"role":"user","content":"hi"}],"zz":[', '{}', ']}'),
  ),
  bodies('body-messages', 'M1', 'millions of messages that are empty lists', () =>
    filled('{"messages":[', '[]', ']}'),
  ),
  bodies('body-keys', 'M1', '2 million keys', () => {
    const keys = Array.from({ length: 2_000_000 }, (_, index) => `"k${index}":1`);
    return `{"messages":[],${keys.join(',')}}`;
  }),
  bodies('body-parts', 'M1', '1.2 million text parts', () =>
    filled('{"messages":[{"role":"user","content":[', '{"type":"text","text":""}', ']}]}'),
  ),
  bodies('body-200000-parts', 'L1', '200,000 text parts', () =>
    filled('{"messages":[{"role":"user","content":[', '{"type":"text","text":""}', ']}]}', 200_000),
  ),
  bodies(
    'detokenize',
    'L2',
    '15 million ids',
    () => filled('{"tokens":[', '5', ']}'),
    '/detokenize',
  ),
  bodies('body-text', 'held', '31 MB of text', () => textOf(BODY_BYTES)),
  {
    name: 'job-bodies',
    finding: 'H4',
    what: 'jobs with 31 MB of body, 4 at a time',
    targets: ['serve', 'gateway'],
    async run({ post, forever }) {
      const body = textOf(BODY_BYTES);
      await forever(4, () => post(CHAT, body, { prefer: 'respond-async' }));
    },
  },
];

function bodies(
  name: string,
  finding: string,
  what: string,
  make: () => string,
  path = CHAT,
): Attack {
  return {
    name,
    finding,
    what: `2 clients that send ${what}`,
    targets: ['serve', 'gateway'],
    async run({ post, forever }) {
      const body = make();
      await forever(2, () => post(path, body));
    },
  };
}

function filled(head: string, item: string, tail: string, count = Infinity): string {
  const room = Math.floor((BODY_BYTES - head.length - tail.length) / (item.length + 1));
  return `${head}${`${item},`.repeat(Math.min(count, room) - 1)}${item}${tail}`;
}

function textOf(byteLength: number): string {
  return JSON.stringify({
    messages: [{ role: 'user', content: 'a '.repeat(byteLength / 2 - 50) }],
    max_tokens: 1,
  });
}
