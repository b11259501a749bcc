import type { Attack, Attacker } from './attack.ts';
import { untilClosed } from './attacker.ts';

export const CHAT = '/v1/chat/completions';
const messages = [{ role: 'user', content: 'tell' }];
const REPORTED = { ignore_eos: true, logprobs: true, top_logprobs: 20 };
const JSON_TYPE = { 'content-type': 'application/json' };
const LATER = { prefer: 'respond-async' };
/** Of the demo model, less what the template adds and an answer of a token. */
const PROMPT_TOKENS = 3_900;
const FIRST_TEXT_ID = 300;
const PLAIN_IDS = 700;

/** Work in the engine: of what is asked for, and never fetched. */
export const WORK_ATTACKS: readonly Attack[] = [
  {
    name: 'unread-streams',
    finding: 'H1',
    what: '70 streams of 4,000 tokens, none of them read',
    targets: ['serve', 'gateway'],
    run: (attacker) =>
      attacker.forever(70, () => unread(attacker, { stream: true, max_tokens: 4_000 })),
  },
  {
    name: 'unread-choices',
    finding: 'H1',
    what: '2 streams of 40 choices each, none of them read',
    targets: ['serve', 'gateway'],
    run: (attacker) =>
      attacker.forever(2, () => unread(attacker, { stream: true, n: 40, max_tokens: 4_000 })),
  },
  {
    name: 'many-choices',
    finding: 'H7',
    what: '2 requests of 60 choices of 1,500 tokens',
    targets: ['serve', 'gateway'],
    run: ({ post, forever }) =>
      forever(2, () => post(CHAT, { messages, n: 60, max_tokens: 1_500, ignore_eos: true })),
  },
  {
    name: 'many-requests',
    finding: 'H7',
    what: '100 requests of 1,500 tokens at once',
    targets: ['serve', 'gateway'],
    run: ({ post, forever }) =>
      forever(100, () => post(CHAT, { messages, max_tokens: 1_500, ignore_eos: true })),
  },
  {
    name: 'long-prompts',
    finding: 'H7',
    what: `40 prompts of ${PROMPT_TOKENS} tokens at once, each another one`,
    targets: ['serve', 'gateway'],
    run: ({ post, forever }) => forever(40, () => post('/v1/completions', randomPrompt())),
  },
  {
    name: 'stored-prompts',
    finding: 'M4',
    what: `8 prompts of ${PROMPT_TOKENS} random tokens at once, which go to the store`,
    targets: ['store'],
    run: ({ post, forever }) => forever(8, () => post('/v1/completions', randomPrompt())),
  },
  {
    name: 'job-answers',
    finding: 'H4',
    what: 'jobs of 4 choices with 20 log probabilities a token, never fetched',
    targets: ['serve', 'gateway'],
    run: ({ post, forever }) =>
      forever(8, () => post(CHAT, { messages, n: 4, max_tokens: 1_000, ...REPORTED }, LATER)),
  },
  {
    name: 'abandoned-streams',
    finding: 'held',
    what: '100 streams at once, each dropped after its first bytes',
    targets: ['serve', 'gateway'],
    run: (attacker) =>
      attacker.forever(100, async () => {
        const body = JSON.stringify({ messages, stream: true, max_tokens: 1_000 });
        const socket = await attacker.open([requestHead(attacker, body), body], 'all');
        if (socket === null) return;
        socket.once('data', () => socket.destroy());
        await untilClosed(socket);
      }),
  },
];

/** Asks, and holds the connection for as long as the server does. */
async function unread(attacker: Attacker, options: object): Promise<void> {
  const body = JSON.stringify({ messages, ...REPORTED, ...options });
  await attacker.hold([requestHead(attacker, body), body], 'begin');
}

function requestHead({ head }: Attacker, body: string): string {
  return head('POST', CHAT, { ...JSON_TYPE, 'content-length': String(body.length) });
}

function randomPrompt(): object {
  const prompt = Array.from(
    { length: PROMPT_TOKENS },
    () => FIRST_TEXT_ID + Math.floor(Math.random() * PLAIN_IDS),
  );
  return { prompt, max_tokens: 1 };
}
