import { checkAnswers, type AnswerCheck, type ServedAnswer } from './load-check.ts';
import { streamChat, type ChatMessage } from './load-client.ts';
import type { LoadServer } from './load-server.ts';
import {
  question,
  spreadOf,
  SYSTEM_PROMPT,
  uniform,
  withMemory,
  type MemoryUse,
  type Spread,
} from './load-traffic.ts';

export interface SessionsOptions {
  readonly count: number;
  readonly turns: number;
  /** Sessions at once. */
  readonly concurrency: number;
  /** No session starts later than this. */
  readonly limitSeconds: number;
  /** Every how many sessions one's answers are compared with fresh ones, afterwards. */
  readonly checkEvery: number;
}

export interface SessionsResult {
  /** Sessions begun: all of them, unless the time was up. */
  readonly sessions: number;
  readonly requests: number;
  readonly errors: number;
  readonly firstError: string | null;
  /** Part of the prompt tokens that were reused, by turn. */
  readonly cachedShare: readonly number[];
  readonly ttftMs: Spread;
  /** KV pages by what happened to them, before the check. */
  readonly pages: Readonly<Record<string, number>>;
  readonly memory: MemoryUse;
  readonly check: AnswerCheck;
}

const GREEDY = { max_tokens: 16, temperature: 0 };
/** Sessions of one tenant share their system prompt. */
const TENANTS = 10;
const THINK_MS = 300;
const LONGEST_THINK_MS = 1500;

/** Sessions of several turns with time to think between them; one that fails says no more. */
export async function loadSessions(
  server: LoadServer,
  options: SessionsOptions,
): Promise<SessionsResult> {
  const { count, turns, concurrency, checkEvery } = options;
  const ttfts: number[] = [];
  const errors: string[] = [];
  const served: ServedAnswer[] = [];
  const prompted = Array.from({ length: turns }, () => 0);
  const cached = Array.from({ length: turns }, () => 0);
  const untilMs = performance.now() + options.limitSeconds * 1000;
  let next = 0;

  const session = async (number: number): Promise<void> => {
    const random = uniform(`session ${number}`);
    const messages: ChatMessage[] = [{ role: 'system', content: SYSTEM_PROMPT }];
    for (let turn = 0; turn < turns; turn++) {
      messages.push({ role: 'user', content: question(random, turn === 0 && random() < 0.5) });
      const body = { ...GREEDY, cache_salt: `tenant ${number % TENANTS}` };
      const answer = await streamChat(server.url, messages, body);
      if (number % checkEvery === 0) served.push({ messages: [...messages], text: answer.text });
      messages.push({ role: 'assistant', content: answer.text });
      ttfts.push(answer.ttftMs);
      prompted[turn] = (prompted[turn] ?? 0) + answer.promptTokens;
      cached[turn] = (cached[turn] ?? 0) + answer.cachedTokens;
      const thinkMs = Math.min(LONGEST_THINK_MS, -Math.log(1 - random()) * THINK_MS);
      await new Promise((resolve) => setTimeout(resolve, thinkMs));
    }
  };
  const lane = async (): Promise<void> => {
    while (next < count && performance.now() < untilMs) {
      await session(next++).catch((error: unknown) => errors.push(String(error)));
    }
  };
  const memory = await withMemory(server, async () => {
    await Promise.all(Array.from({ length: concurrency }, lane));
  });
  const pages = await readPages(server.url);
  return {
    sessions: next,
    requests: ttfts.length,
    errors: errors.length,
    firstError: errors[0] ?? null,
    cachedShare: cached.map((tokens, turn) => Number((tokens / (prompted[turn] ?? 1)).toFixed(3))),
    ttftMs: spreadOf(ttfts),
    pages,
    memory,
    check: await checkAnswers(server.url, served, GREEDY),
  };
}

async function readPages(url: string): Promise<Record<string, number>> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const lines = text.matchAll(/^gemlet_pages_total\{.*event="(\w+)".*\} (\d+)$/gm);
  return Object.fromEntries(Array.from(lines, ([, event, count]) => [event, Number(count)]));
}
