import { streamChat, type ChatMessage, type StreamedAnswer } from './load-client.ts';
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

export interface StreamsResult {
  readonly requests: number;
  readonly errors: number;
  readonly firstError: string | null;
  readonly tokensPerSecond: number;
  readonly ttftMs: Spread;
  readonly e2eMs: Spread;
  /** Completed tokens of the slowest client over those of the fastest. */
  readonly fairness: number;
  readonly memory: MemoryUse;
}

const ANSWER_TOKENS = 24;

/** `count` clients for `seconds`, each with one stream at a time; one that fails asks no more. */
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

  const client = async (number: number): Promise<void> => {
    const random = uniform(`client ${number}`);
    while (performance.now() < untilMs) {
      const messages: ChatMessage[] = [{ role: 'user', content: question(random, random() < 0.3) }];
      if (random() < 0.5) messages.unshift({ role: 'system', content: SYSTEM_PROMPT });
      const seed = Math.floor(random() * 1e9);
      const options = { max_tokens: ANSWER_TOKENS, ignore_eos: true, seed };
      const answer = await streamChat(server.url, messages, options);
      const { completionTokens, finishReason } = answer;
      if (finishReason !== 'length' || completionTokens !== ANSWER_TOKENS) {
        throw new Error(`${completionTokens} tokens, ended by ${finishReason}`);
      }
      answers.push(answer);
      tokensOf[number] = (tokensOf[number] ?? 0) + completionTokens;
    }
  };
  const memory = await withMemory(server, async () => {
    const clients = tokensOf.map((_, number) =>
      client(number).catch((error: unknown) => errors.push(String(error))),
    );
    await Promise.all(clients);
  });
  const elapsedSeconds = (performance.now() - startedMs) / 1000;
  return {
    requests: answers.length,
    errors: errors.length,
    firstError: errors[0] ?? null,
    tokensPerSecond: tokensOf.reduce((sum, tokens) => sum + tokens, 0) / elapsedSeconds,
    ttftMs: spreadOf(answers.map(({ ttftMs }) => ttftMs)),
    e2eMs: spreadOf(answers.map(({ e2eMs }) => e2eMs)),
    fairness: Math.min(...tokensOf) / Math.max(...tokensOf),
    memory,
  };
}
