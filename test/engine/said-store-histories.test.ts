import { describe, expect, it } from 'vitest';
import { fakeModelConfig } from '../../adapters/fake/config.ts';
import { FAKE_TOKEN_BYTES } from '../../adapters/fake/row.ts';
import type { GenerateEvent, PreparedPrompt, TokenBytes } from '../../src/engine/engine.ts';
import type { KvStore } from '../../src/engine/kv/kv-store.ts';
import { createObjectKvStore } from '../../src/engine/kv/store/object-kv-store.ts';
import { collect, createTestEngine, GREEDY, type TestEngine } from '../support/engine-harness.ts';
import { memoryStore, type MemoryStore } from '../support/memory-store.ts';
import { forSeeds, type SeededRandom } from '../support/seeded-random.ts';
import { createStallClock } from '../support/stall-clock.ts';

const CONTEXT = 500;
const FIRST_WORD = 9;
const END = 5;
const CONFIG = fakeModelConfig({ vocabSize: 70, windowTokens: 7, maxPositions: CONTEXT });

/** Every text over two letters up to five, so that most texts can be spelled in many ways. */
const WORDS: readonly string[] = [1, 2, 3, 4, 5]
  .flatMap((length) =>
    Array.from({ length: 2 ** length }, (_, bits) =>
      bits.toString(2).padStart(length, '0').replaceAll('0', 'a').replaceAll('1', 'b'),
    ),
  )
  .slice(0, 70 - FIRST_WORD);
const TOKENS: TokenBytes = {
  vocabSize: 70,
  bytes: (id) => new TextEncoder().encode(WORDS[id - FIRST_WORD] ?? ''),
  suppressed: Array.from({ length: FIRST_WORD }, (_, id) => id),
};

/** The longest word first, as no model samples. */
function encode(text: string): readonly number[] {
  const ids: number[] = [];
  for (let at = 0; at < text.length;) {
    const id = WORDS.findLastIndex((word) => text.startsWith(word, at));
    ids.push(id + FIRST_WORD);
    at += WORDS[id]?.length ?? 1;
  }
  return ids;
}

function decode(ids: Iterable<number>): string {
  return Array.from(ids, (id) => WORDS[id - FIRST_WORD] ?? `<${id}>`).join('');
}

function render(messages: readonly string[], scope: string): PreparedPrompt {
  const tokens = [2];
  const assistantSpans = [];
  for (const [index, message] of messages.entries()) {
    const start = tokens.length;
    tokens.push(...encode(message));
    if (index % 2 === 1) assistantSpans.push({ start, end: tokens.length });
    tokens.push(END);
  }
  return { tokens: Int32Array.from(tokens), images: [], assistantSpans, scope };
}

interface Replica extends TestEngine {
  readonly kvStore: KvStore;
}

function startReplica(random: SeededRandom, store: MemoryStore): Replica {
  const kvStore = createObjectKvStore({
    store,
    fingerprint: 'model',
    kvTokenBytes: { global: FAKE_TOKEN_BYTES, local: FAKE_TOKEN_BYTES },
    windowTokens: 7,
    tokensPerImage: 4,
    pageTokens: 16,
    // Pauses between attempts pass at once, deadlines never do.
    clock: { now: () => 0, ...createStallClock(6000) },
    instance: `r${random.integer(0, 1e9)}`,
    alwaysRestores: true,
  });
  const engine = createTestEngine(
    { kvStore, kvBudgetBytes: 1e6, pageTokens: 16, tokens: TOKENS },
    { config: CONFIG, rowCount: 1, chunkTokens: 40, alignTokens: 4 },
  );
  return { ...engine, kvStore };
}

/** Until all that a turn leaves is where it goes. */
async function settle({ engine, kvStore }: Replica): Promise<void> {
  while (engine.stats().running > 0) await new Promise((resolve) => setImmediate(resolve));
  // Fails where the store is away.
  await kvStore.flush().catch(() => undefined);
}

function startOf(events: readonly GenerateEvent[]): GenerateEvent & { type: 'prefill-end' } {
  const [start] = events;
  if (start?.type !== 'prefill-end') throw new TypeError('no start');
  return start;
}

const SAID_KEY = /\/said\//;

function spoil(random: SeededRandom, store: MemoryStore): void {
  const keys = [...store.objects.keys()].filter((key) => key.startsWith('kv/'));
  const said = keys.filter((key) => SAID_KEY.test(key));
  const key = random.pick(random.chance(0.7) && said.length > 0 ? said : keys);
  const bytes = store.objects.get(key) ?? new Uint8Array(0);
  const kind = random.pick(['lost', 'truncated', 'flipped', 'other', 'longer'] as const);
  if (kind === 'lost') store.objects.delete(key);
  if (kind === 'truncated') store.objects.set(key, bytes.slice(0, random.integer(0, bytes.length)));
  if (kind === 'other') store.objects.set(key, store.objects.get(random.pick(keys)) ?? bytes);
  if (kind === 'longer') store.objects.set(key, Uint8Array.of(...bytes, 0, 0, 0, 0));
  if (kind !== 'flipped' || bytes.length === 0) return;
  const flipped = bytes.slice();
  const at = random.integer(0, flipped.length - 1);
  flipped[at] = (flipped[at] ?? 0) ^ (1 << random.integer(0, 7));
  store.objects.set(key, flipped);
}

interface Sums {
  turns: number;
  moves: number;
  respelled: number;
  resaid: number;
  refused: number;
}

/** Conversations of one client text by text, over replicas that restart. */
async function converse(random: SeededRandom, isFaulty: boolean, sums: Sums): Promise<void> {
  const store = memoryStore();
  if (isFaulty) {
    store.onRead = () => {
      if (random.chance(0.05)) throw new Error('the store is away');
    };
    store.onWrite = () => {
      if (random.chance(0.05)) throw new Error('the store is full');
    };
  }
  const alone = createTestEngine(
    { tokens: TOKENS },
    { config: CONFIG, rowCount: 1, alignTokens: 4 },
  );
  const replicas = [0, 1].map(() => startReplica(random, store));
  const close = async (replica: Replica): Promise<void> => {
    const refused = replica.engine.stats().store?.refused ?? {};
    sums.refused += Object.values(refused).reduce((sum, count) => sum + count, 0);
    await replica.engine.close();
  };
  const question = (length = random.integer(1, 30)): string =>
    Array.from({ length }, () => random.pick(['a', 'b'])).join('');
  // Prompts of a few tokens are not looked for.
  const messages = [question(200)];
  /** Ids of the prompt before and what was said after it. */
  let expected: readonly number[] = [];
  let last = 0;
  for (let turn = random.integer(3, 7); turn > 0; turn--) {
    const at = random.integer(0, 1);
    if (random.chance(0.3)) {
      await close(replicas[at] as Replica);
      replicas[at] = startReplica(random, store);
      last = -1;
    }
    const replica = replicas[at] as Replica;
    const params = {
      ...GREEDY,
      temperature: 1,
      seed: random.integer(0, 1e9),
      maxTokens: random.integer(1, 25),
    };
    const asked = render(messages, 'one');
    const events = await collect(replica.engine.generate(asked, params));
    const start = startOf(events);
    const computed = Array.from(start.tokens);
    expect(decode(computed)).toBe(decode(asked.tokens));
    if (computed.join() !== Array.from(asked.tokens).join()) sums.resaid++;
    if (at !== last) sums.moves++;
    last = at;
    sums.turns++;
    if (!isFaulty) {
      expect(computed.slice(0, expected.length)).toEqual(expected);
      // All but the last token of an answer is computed when it ends; a few are not looked for.
      const reusable = Math.max(0, Math.min(expected.length - 1, computed.length - 2));
      const isSought = computed.length - 2 - start.cachedTokens >= 32;
      if (isSought) expect(start.cachedTokens).toBeGreaterThanOrEqual(reusable);
    }
    const same = { ...asked, tokens: start.tokens, assistantSpans: [], scope: `${turn}` };
    const undisturbed = await collect(alone.engine.generate(same, params));
    const tokens = events.flatMap((event) => (event.type === 'token' ? [event.id] : []));
    expect(tokens).toEqual(
      undisturbed.flatMap((event) => (event.type === 'token' ? [event.id] : [])),
    );
    // Another tenant with the same texts has nothing of it.
    const other = await collect(
      replica.engine.generate({ ...asked, scope: 'two' }, { ...params, maxTokens: 0 }),
    );
    if (turn === 1) expect(Array.from(startOf(other).tokens)).toEqual(Array.from(asked.tokens));
    await settle(replica);
    const answer = decode(tokens);
    if (encode(answer).join() !== tokens.join()) sums.respelled++;
    expected = [...computed, ...tokens];
    messages.push(answer, question());
    if (isFaulty && random.chance(0.7)) spoil(random, store);
  }
  for (const replica of replicas) await close(replica);
}

describe('what was said in another process', { timeout: 120_000 }, () => {
  const seeds = Number(process.env['SEEDS'] ?? 60);
  const none = { turns: 0, moves: 0, respelled: 0, resaid: 0, refused: 0 };

  it('is gone on from with the same ids, up to the end of the turn before', async () => {
    const sums = { ...none };
    await forSeeds(seeds, (random) => converse(random, false, sums));
    console.log(sums);
    expect(sums.respelled).toBeGreaterThan(seeds);
    expect(sums.resaid).toBeGreaterThan(seeds);
    expect(sums.moves).toBeGreaterThan(seeds);
    expect(sums.refused).toBe(0);
  });

  it('costs time where the store fails or lies, and never a wrong token', async () => {
    const sums = { ...none };
    await forSeeds(seeds, (random) => converse(random, true, sums));
    console.log(sums);
    expect(sums.resaid).toBeGreaterThan(seeds);
    expect(sums.refused).toBeGreaterThan(seeds / 20);
  });
});
