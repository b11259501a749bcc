import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startLoadServer, type LoadServer } from '../../infra/bench/load-server.ts';
import { readDemoFile } from '../support/demo-model.ts';
import { parsePrometheusText } from '../support/prometheus-text.ts';
import { createSeededRandom, type SeededRandom } from '../support/seeded-random.ts';

const CONVERSATIONS = 20;
const TURNS = 4;
const MAX_TOKENS = 16;
/** Within so long of its end a turn is in the store. */
const SAVED_WITHIN_MS = 5_000;
/** What templates and clients trim of an answer may be computed anew. */
const TRIMMED_TOKENS = 4;
const ENTRY = new URL('../../dist/adapters/cli/main.js', import.meta.url);
const PICTURE = `data:image/png;base64,${Buffer.from(readDemoFile('example.png')).toString('base64')}`;
const QUESTIONS = ['Describe this image.', 'What colour is it?', 'And the shape?', 'Hello!'];

interface Conversation {
  readonly number: number;
  readonly answers: string[];
  /** Tokens of prompt and answer that are known to be saved. */
  saved: number;
}

interface Answer {
  readonly text: string;
  readonly tokens: number;
  readonly cached: number;
}

function messagesOf({ number, answers }: Conversation): object[] {
  return QUESTIONS.slice(0, answers.length + 1).flatMap((text, turn) => {
    const picture = { type: 'image_url', image_url: { url: PICTURE } };
    const question = { type: 'text', text: `${number}. ${text}` };
    const content = turn === 0 ? [picture, question] : `${number}. ${text}`;
    const answer = answers[turn];
    return answer === undefined
      ? [{ role: 'user', content }]
      : [
          { role: 'user', content },
          { role: 'assistant', content: answer },
        ];
  });
}

async function ask(url: string, conversation: Conversation): Promise<Answer> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      temperature: 0,
      max_tokens: MAX_TOKENS,
      cache_salt: `conversation ${conversation.number}`,
      messages: messagesOf(conversation),
    }),
  });
  const body = (await response.json()) as {
    choices: [{ message: { content: string } }];
    usage: { total_tokens: number; prompt_tokens_details: { cached_tokens: number } };
  };
  if (!response.ok) throw new Error(JSON.stringify(body));
  const { usage, choices } = body;
  return {
    text: choices[0].message.content,
    tokens: usage.total_tokens,
    cached: usage.prompt_tokens_details.cached_tokens,
  };
}

/** Waits until nothing is left to write. */
async function allSaved(url: string): Promise<void> {
  const startedMs = performance.now();
  for (;;) {
    const samples = parsePrometheusText(await (await fetch(`${url}/metrics`)).text());
    const queued = samples.find(({ name }) => name === 'gemlet_kv_store_queued_bytes')?.value;
    if (queued === 0) return;
    expect(performance.now() - startedMs, `${queued} bytes queued`).toBeLessThan(SAVED_WITHIN_MS);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const FLAGS = ['--slots', '3', '--threads', '2', '--kv-budget', '24MB', '--context', '1024'];

function flags(folder: string | null): string[] {
  return folder === null ? FLAGS : [...FLAGS, '--kv-store', folder, '--kv-restore', 'always'];
}

describe('a server that is killed', { timeout: 300_000 }, () => {
  let folder: string;
  let undisturbed: LoadServer;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gemlet-kill-'));
    undisturbed = await startLoadServer(flags(null), ENTRY);
  });
  afterAll(async () => {
    await undisturbed.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('goes on where its conversations were saved, with the answers of one that was not', async () => {
    const random = createSeededRandom(20_261_125);
    let server = await startLoadServer(flags(folder), ENTRY);
    let kills = 0;
    let restored = 0;
    let lost = 0;
    const conversations = Array.from({ length: CONVERSATIONS }, (_, number): Conversation => ({
      number,
      answers: [],
      saved: 0,
    }));
    const open = (): Conversation[] =>
      conversations.filter(({ answers }) => answers.length < TURNS);
    while (open().length > 0) {
      const batch = pickSome(random, open(), 5);
      const dies = random.chance(0.4);
      const before = batch.map(({ saved }) => saved);
      const asking = Promise.allSettled(batch.map((conversation) => ask(server.url, conversation)));
      if (dies) {
        await new Promise((resolve) => setTimeout(resolve, random.integer(0, 400)));
        await server.kill();
        kills++;
      }
      const results = await asking;
      for (const [at, result] of results.entries()) {
        if (result.status === 'rejected') {
          if (!dies) throw result.reason;
          lost++;
          continue;
        }
        const conversation = batch[at];
        if (conversation === undefined) continue;
        const { text, tokens, cached } = result.value;
        const expected = await ask(undisturbed.url, conversation);
        expect(text, `turn ${conversation.answers.length} of ${conversation.number}`).toBe(
          expected.text,
        );
        expect(cached).toBeGreaterThanOrEqual((before[at] ?? 0) - TRIMMED_TOKENS);
        if ((before[at] ?? 0) > 0) restored++;
        conversation.answers.push(text);
        conversation.saved = 0;
        if (!dies) conversation.saved = tokens - 1;
      }
      if (dies) server = await startLoadServer(flags(folder), ENTRY);
      else await allSaved(server.url);
    }
    await server.close();
    console.log(`${kills} kills, ${lost} answers lost and asked again, ${restored} turns restored`);
    expect(kills).toBeGreaterThan(3);
    expect(restored).toBeGreaterThan(CONVERSATIONS);
  });
});

function pickSome<T>(random: SeededRandom, items: readonly T[], most: number): T[] {
  const left = [...items];
  const picked: T[] = [];
  while (left.length > 0 && picked.length < most) {
    picked.push(...left.splice(random.integer(0, left.length - 1), 1));
  }
  return picked;
}
