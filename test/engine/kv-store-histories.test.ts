import { describe, expect, it } from 'vitest';
import { fakeModelConfig } from '../../adapters/fake/config.ts';
import { FAKE_TOKEN_BYTES } from '../../adapters/fake/row.ts';
import type { PreparedPrompt } from '../../src/engine/engine.ts';
import { createObjectKvStore } from '../../src/engine/kv/store/object-kv-store.ts';
import { collect, createTestEngine, idsOf, type TestEngine } from '../support/engine-harness.ts';
import { createSimulatedClock } from '../support/fake-clock.ts';
import { memoryStore, type MemoryStore } from '../support/memory-store.ts';
import { cutBack, extend, randomParams, visible } from '../support/random-turns.ts';
import { forSeeds, type SeededRandom } from '../support/seeded-random.ts';
import { createStallClock } from '../support/stall-clock.ts';

const CONTEXT = 600;
const PAGE_TOKENS = 16;
const CONFIG = fakeModelConfig({ vocabSize: 70, windowTokens: 7, maxPositions: CONTEXT });
const LONGEST_PAUSE_MS = 6000;
const SCOPES = ['', 'other tenant'];

/** A replica over the shared store; what it held in memory dies with it. */
function startReplica(random: SeededRandom, store: MemoryStore, fingerprint: string): TestEngine {
  const clock = createSimulatedClock();
  const kvStore = createObjectKvStore({
    store,
    fingerprint,
    kvTokenBytes: { global: FAKE_TOKEN_BYTES, local: FAKE_TOKEN_BYTES },
    windowTokens: 7,
    tokensPerImage: 4,
    pageTokens: PAGE_TOKENS,
    // Pauses between attempts pass at once, deadlines never do.
    clock: { now: () => 0, ...createStallClock(LONGEST_PAUSE_MS) },
    instance: `r${random.integer(0, 1e9)}`,
    alwaysRestores: true,
  });
  return createTestEngine(
    {
      clock,
      kvStore,
      kvBudgetBytes: random.pick([600, 3000, 1e6]),
      pageTokens: PAGE_TOKENS,
      imageCacheBytes: 4096,
      speculates: random.chance(0.3),
    },
    {
      config: CONFIG,
      rowCount: random.integer(1, 3),
      chunkTokens: random.integer(3, 40),
      alignTokens: 4,
      pace: { clock, tokenMs: 1, imageMs: 3 },
    },
  );
}

/** What stores do to objects on bad days. */
function spoil(random: SeededRandom, store: MemoryStore): void {
  const keys = [...store.objects.keys()].filter((key) => key.startsWith('kv/'));
  if (keys.length === 0) return;
  const key = random.pick(keys);
  const bytes = store.objects.get(key) ?? new Uint8Array(0);
  const kind = random.pick(['lost', 'truncated', 'flipped', 'other'] as const);
  if (kind === 'lost') store.objects.delete(key);
  if (kind === 'truncated') store.objects.set(key, bytes.slice(0, random.integer(0, bytes.length)));
  if (kind === 'other') store.objects.set(key, store.objects.get(random.pick(keys)) ?? bytes);
  if (kind !== 'flipped' || bytes.length === 0) return;
  const flipped = bytes.slice();
  const at = random.integer(0, flipped.length - 1);
  flipped[at] = (flipped[at] ?? 0) ^ (1 << random.integer(0, 7));
  store.objects.set(key, flipped);
}

describe('random conversations over replicas that share a store', { timeout: 120_000 }, () => {
  it('say what they would say alone, whatever restarts and whatever the store does', async () => {
    const sums = { turns: 0, restarts: 0, fetchedTokens: 0, written: 0, refused: 0 };
    const take = ({ engine }: TestEngine): void => {
      const stats = engine.stats().store;
      sums.fetchedTokens += stats?.fetchedTokens ?? 0;
      sums.written += stats?.writtenPages ?? 0;
      sums.refused += Object.values(stats?.refused ?? {}).reduce((sum, n) => sum + n, 0);
    };
    const count = Number(process.env['SEEDS'] ?? 400);
    await forSeeds(count, async (random) => {
      const store = memoryStore();
      // A store that is slow answers in another order than it was asked.
      store.onRead = async () => {
        for (let turn = random.integer(0, 3); turn > 0; turn--) {
          await new Promise((resolve) => setImmediate(resolve));
        }
        if (random.chance(0.02)) throw new Error('the store is away');
      };
      store.onWrite = () => {
        if (random.chance(0.03)) throw new Error('the store is full');
      };
      const alone = createTestEngine({}, { config: CONFIG, rowCount: 1, alignTokens: 4 });
      const replicas = [0, 1].map(() => startReplica(random, store, 'model'));
      let aloneCalls = 0;
      const known: PreparedPrompt[] = [];
      for (let conversation = random.integer(1, 3); conversation > 0; conversation--) {
        const start = { tokens: Int32Array.of(2), images: [], assistantSpans: [] };
        let prompt = extend(random, { ...start, scope: random.pick(SCOPES) }, []);
        for (let left = random.integer(3, 9); left > 0; left--) {
          const params = randomParams(random);
          if (prompt.tokens.length + params.maxTokens > CONTEXT) break;
          sums.turns++;
          const at = random.integer(0, 1);
          const replica = replicas[at] as TestEngine;
          const events = await collect(replica.engine.generate(prompt, params));
          const scope = `alone ${aloneCalls++}`;
          const expected = await collect(alone.engine.generate({ ...prompt, scope }, params));
          expect(visible(events)).toBe(visible(expected));
          known.push(prompt);
          for (let more = random.integer(0, 3); more > 0; more--) spoil(random, store);
          if (random.chance(0.35)) {
            // Killed, or stopped in good order, or replaced by one of another model.
            if (random.chance(0.5)) await replica.engine.drain(1000);
            take(replica);
            await replica.engine.close();
            replicas[at] = startReplica(random, store, random.pick(['model', 'model', 'other']));
            sums.restarts++;
          }
          const answered = extend(random, prompt, idsOf(expected));
          const forked = { ...random.pick(known), scope: prompt.scope };
          prompt = random.pick([answered, answered, answered, prompt, extend(random, forked, [])]);
          if (random.chance(0.15)) prompt = extend(random, cutBack(random, prompt), []);
        }
      }
      for (const replica of replicas) {
        take(replica);
        await replica.engine.close();
      }
    });
    console.log(sums);
    expect(sums.restarts).toBeGreaterThan(count / 2);
    expect(sums.fetchedTokens).toBeGreaterThan(count);
    expect(sums.refused).toBeGreaterThan(count / 20);
  });
});
