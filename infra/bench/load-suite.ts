import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { writeResults } from './fork-suite.ts';
import { streamChat, type ChatMessage, type StreamedAnswer } from './load-client.ts';
import { startLoadServer, type LoadServer } from './load-server.ts';
import { createRandom } from './random.ts';
import { quantile } from './stats.ts';

export const LOAD_USAGE = `Usage: npm run bench -- load [options]

Load on a server of its own with the demo model, over loopback: many streams for a while, then many
sessions of several turns under a page budget that forces eviction.

  --streams N       concurrent streams; default 256, 0 leaves that part out
  --seconds N       default 60
  --sessions N      default 1000, 0 leaves that part out
  --turns N         turns of each session; default 6
  --concurrency N   sessions at once; default 64
`;

const PICTURE = 'infra/demo-model/example.png';
const SYSTEM = 'You look at pictures and say in few words what they show. Be exact, be kind.';
const THINK_MS = 300;
const LONGEST_THINK_MS = 1500;
/** A tenth of what all sessions would need. */
const SESSION_BUDGET = '64MB';
const SAMPLE_MS = 5000;

export interface StreamsResult {
  readonly requests: number;
  readonly errors: number;
  readonly firstError: string | null;
  readonly tokensPerSecond: number;
  readonly ttftMs: Spread;
  readonly e2eMs: Spread;
  /** Completed tokens of the slowest client over those of the fastest. */
  readonly fairness: number;
  readonly rssMb: readonly number[];
}

interface Spread {
  readonly p50: number;
  readonly p99: number;
  readonly slowestOverFastest: number;
}

export interface SessionsResult {
  readonly requests: number;
  readonly errors: number;
  readonly firstError: string | null;
  /** Part of the prompt tokens that were reused, by turn. */
  readonly cachedShare: readonly number[];
  readonly ttftMs: Spread;
  readonly pages: string;
  readonly rssMb: readonly number[];
}

export async function runLoad(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      streams: { type: 'string', default: '256' },
      seconds: { type: 'string', default: '60' },
      sessions: { type: 'string', default: '1000' },
      turns: { type: 'string', default: '6' },
      concurrency: { type: 'string', default: '64' },
    },
  });
  const results: Record<string, unknown> = {};
  const streams = Number(values.streams);
  if (streams > 0) {
    const result = await withServer(['--slots', '16', '--queue', '1024'], (server) =>
      loadStreams(server, streams, Number(values.seconds)),
    );
    console.log(`${streams} streams for ${values.seconds} s:`, result);
    results['streams'] = result;
  }
  const sessions = Number(values.sessions);
  if (sessions > 0) {
    const flags = ['--slots', '16', '--queue', '1024', '--kv-budget', SESSION_BUDGET];
    const result = await withServer(flags, (server) =>
      loadSessions(server, sessions, Number(values.turns), Number(values.concurrency)),
    );
    console.log(`${sessions} sessions of ${values.turns} turns:`, result);
    results['sessions'] = result;
  }
  console.log(`written to ${writeResults('load', results)}`);
}

async function withServer<T>(
  flags: readonly string[],
  work: (server: LoadServer) => Promise<T>,
): Promise<T> {
  const server = await startLoadServer(flags);
  try {
    return await work(server);
  } finally {
    await server.close();
  }
}

function question(random: () => number, withPicture: boolean): unknown {
  const text = ['Describe this image.', 'Hello!', 'What colour is it?', 'And the shape?'][
    Math.floor(random() * 4)
  ];
  if (!withPicture) return text;
  const picture = readFileSync(PICTURE).toString('base64');
  return [
    { type: 'image_url', image_url: { url: `data:image/png;base64,${picture}` } },
    { type: 'text', text },
  ];
}

function uniform(seed: string): () => number {
  const random = createRandom(seed);
  const word = new Uint32Array(1);
  return () => {
    random.draw(word);
    return (word[0] ?? 0) / 2 ** 32;
  };
}

export async function loadStreams(
  server: LoadServer,
  count: number,
  seconds: number,
): Promise<StreamsResult> {
  const answers: StreamedAnswer[] = [];
  const tokensOf = Array.from({ length: count }, () => 0);
  const errors: string[] = [];
  const startedMs = performance.now();
  const untilMs = startedMs + seconds * 1000;
  const watch = watchMemory(server);
  const client = async (number: number): Promise<void> => {
    const random = uniform(`client ${number}`);
    while (performance.now() < untilMs) {
      const messages: ChatMessage[] = [{ role: 'user', content: question(random, random() < 0.3) }];
      if (random() < 0.5) messages.unshift({ role: 'system', content: SYSTEM });
      const seed = Math.floor(random() * 1e9);
      try {
        const options = { max_tokens: 24, ignore_eos: true, seed };
        const answer = await streamChat(server.url, messages, options);
        answers.push(answer);
        tokensOf[number] = (tokensOf[number] ?? 0) + answer.completionTokens;
      } catch (error) {
        errors.push(String(error));
      }
    }
  };
  await Promise.all(Array.from({ length: count }, (_, number) => client(number)));
  const elapsed = (performance.now() - startedMs) / 1000;
  return {
    requests: answers.length,
    errors: errors.length,
    firstError: errors[0] ?? null,
    tokensPerSecond: tokensOf.reduce((sum, tokens) => sum + tokens, 0) / elapsed,
    ttftMs: spreadOf(answers.map(({ ttftMs }) => ttftMs)),
    e2eMs: spreadOf(answers.map(({ e2eMs }) => e2eMs)),
    fairness: Math.min(...tokensOf) / Math.max(...tokensOf),
    rssMb: watch.stop(),
  };
}

export async function loadSessions(
  server: LoadServer,
  count: number,
  turns: number,
  concurrency: number,
): Promise<SessionsResult> {
  const ttfts: number[] = [];
  const errors: string[] = [];
  const prompted = Array.from({ length: turns }, () => 0);
  const cached = Array.from({ length: turns }, () => 0);
  let next = 0;
  const watch = watchMemory(server);
  const session = async (number: number): Promise<void> => {
    const random = uniform(`session ${number}`);
    const messages: ChatMessage[] = [{ role: 'system', content: SYSTEM }];
    for (let turn = 0; turn < turns; turn++) {
      messages.push({ role: 'user', content: question(random, turn === 0 && random() < 0.5) });
      const options = { max_tokens: 16, temperature: 0, cache_salt: `session ${number % 10}` };
      const answer = await streamChat(server.url, messages, options);
      messages.push({ role: 'assistant', content: answer.text });
      ttfts.push(answer.ttftMs);
      prompted[turn] = (prompted[turn] ?? 0) + answer.promptTokens;
      cached[turn] = (cached[turn] ?? 0) + answer.cachedTokens;
      const thinkMs = Math.min(LONGEST_THINK_MS, -Math.log(1 - random()) * THINK_MS);
      await new Promise((resolve) => setTimeout(resolve, thinkMs));
    }
  };
  const worker = async (): Promise<void> => {
    while (next < count) {
      const number = next++;
      await session(number).catch((error: unknown) => errors.push(String(error)));
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  return {
    requests: ttfts.length,
    errors: errors.length,
    firstError: errors[0] ?? null,
    cachedShare: cached.map((tokens, turn) => Number((tokens / (prompted[turn] ?? 1)).toFixed(3))),
    ttftMs: spreadOf(ttfts),
    pages: metrics
      .split('\n')
      .filter((line) => line.startsWith('gemlet_pages_total'))
      .map((line) => line.replace(/.*event="(\w+)".* (\d+)$/, '$1 $2'))
      .join(', '),
    rssMb: watch.stop(),
  };
}

function spreadOf(values: readonly number[]): Spread {
  const at = (fraction: number): number => Math.round(quantile(values, fraction));
  return { p50: at(0.5), p99: at(0.99), slowestOverFastest: Number((at(1) / at(0)).toFixed(1)) };
}

function watchMemory(server: LoadServer): { stop(): readonly number[] } {
  const samples = [Math.round(server.rssMb())];
  const timer = setInterval(() => samples.push(Math.round(server.rssMb())), SAMPLE_MS);
  return {
    stop() {
      clearInterval(timer);
      return [...samples, Math.round(server.rssMb())];
    },
  };
}
