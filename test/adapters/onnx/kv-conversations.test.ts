import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Backend } from '../../../src/engine/backend.ts';
import type {
  Engine,
  GenerateEvent,
  PreparedImage,
  PreparedPrompt,
  SamplingParams,
} from '../../../src/engine/engine.ts';
import { createLocalEngine } from '../../../src/engine/local-engine.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import { collect, GREEDY, idsOf } from '../../support/engine-harness.ts';
import { DEMO_FOLDER, loadOnnx } from '../../support/onnx-model.ts';
import { createSeededRandom, type SeededRandom } from '../../support/seeded-random.ts';

const NO_BYTES = new Uint8Array(0);
const CONTEXT = 768;
/** A decoded token's keys are rounded otherwise than a computed prompt's: top logits nearer than this may swap. */
const MARGIN_NATS = 0.25;

function createEngineOver(backend: Backend, kvBudgetBytes: number, sliceMs = Infinity): Engine {
  const { config } = backend;
  const { imageSize = 0 } = config.vision ?? {};
  return createLocalEngine({
    backend,
    tokens: { vocabSize: config.text.vocabSize, bytes: () => NO_BYTES, suppressed: [] },
    model: { config, contextTokens: CONTEXT, precision: 'fast' },
    toPixels: (images) =>
      Float32Array.from(
        { length: images.length * 3 * imageSize * imageSize },
        (_, at) => ((images[0]?.rgb[at % 48] ?? 0) / 255 - 0.5) * 2,
      ),
    clock: systemClock,
    maxWaiting: 64,
    kvBudgetBytes,
    pageTokens: 64,
    imageCacheBytes: 1e6,
    sliceMs,
  });
}

function someImage(number: number): PreparedImage {
  const rgb = Uint8Array.from({ length: 48 }, (_, at) => (at * 37 + number * 91) & 255);
  return { rgb, sha256: number.toString(16).padStart(64, '0') };
}

function extend(
  random: SeededRandom,
  prompt: PreparedPrompt,
  ids: readonly number[],
  tokensPerImage: number,
): PreparedPrompt {
  const text = Array.from({ length: random.integer(3, 60) }, () => random.integer(100, 1900));
  const tokens = [...prompt.tokens, ...ids, ...text];
  const images = [...prompt.images];
  if (random.chance(0.25)) {
    images.push({ position: tokens.length, image: someImage(random.integer(0, 3)) });
    for (let at = 0; at < tokensPerImage; at++) tokens.push(2047);
    tokens.push(random.integer(100, 1900), random.integer(100, 1900));
  }
  return { ...prompt, tokens: Int32Array.from(tokens), images };
}

const PARAMS: SamplingParams = { ...GREEDY, maxTokens: 12, logprobs: 2 };

type TokenEvent = Extract<GenerateEvent, { type: 'token' }>;
const tokensOf = (events: readonly GenerateEvent[]): TokenEvent[] =>
  events.filter((event) => event.type === 'token');

describe.each(['exact', 'fast'] as const)('conversations on the demo model, %s', (precision) => {
  let crowded: Backend;
  let roomy: Backend;
  let lone: Backend;

  beforeAll(async () => {
    const options = { precision, contextTokens: CONTEXT };
    crowded = await loadOnnx(DEMO_FOLDER, { ...options, rowCount: 2 });
    roomy = await loadOnnx(DEMO_FOLDER, { ...options, rowCount: 6 });
    lone = await loadOnnx(DEMO_FOLDER, { ...options, rowCount: 2 });
  });

  afterAll(async () => {
    for (const backend of [crowded, roomy, lone]) await backend.close();
  });

  it('have the same bits restored from pages as undisturbed, and the same words computed anew', async () => {
    const random = createSeededRandom(20_261_124);
    const tokensPerImage = crowded.config.vision?.tokensPerImage ?? 0;
    // Six conversations on two rows: every turn has lost its row and comes back from pages.
    const restoring = createEngineOver(crowded, 1e9, 20);
    const undisturbed = createEngineOver(roomy, 0);
    const fresh = createEngineOver(lone, 0);
    let prompts = Array.from({ length: 6 }, (_, number) =>
      extend(
        random,
        { tokens: Int32Array.of(2), images: [], assistantSpans: [], scope: `c${number}` },
        [],
        tokensPerImage,
      ),
    );
    let compared = 0;
    let withinMargin = 0;
    for (let turn = 0; turn < 6; turn++) {
      const run = (engine: Engine): Promise<GenerateEvent[][]> =>
        Promise.all(prompts.map((prompt) => collect(engine.generate(prompt, PARAMS))));
      const restored = await run(restoring);
      const expected = await run(undisturbed);
      for (const [at, events] of restored.entries()) {
        // Ids and log probabilities, to the last bit.
        expect(tokensOf(events)).toEqual(tokensOf(expected[at] ?? []));
        const scope = `fresh ${turn} ${at}`;
        const prompt = prompts[at] as PreparedPrompt;
        const anew = tokensOf(await collect(fresh.generate({ ...prompt, scope }, PARAMS)));
        for (const [index, { id, logprobs }] of tokensOf(events).entries()) {
          compared++;
          if (anew[index]?.id === id) continue;
          const [first, second] = logprobs?.top ?? [];
          expect((first?.logprob ?? 0) - (second?.logprob ?? -1)).toBeLessThan(MARGIN_NATS);
          withinMargin++;
          break;
        }
      }
      prompts = prompts.map((prompt, at) =>
        extend(random, prompt, idsOf(restored[at] ?? []), tokensPerImage),
      );
    }
    const { totals } = restoring.stats();
    console.log(
      `${precision}: ${compared} tokens, margin rule applied ${withinMargin} times; ${totals.pagesRestored} pages restored, ${totals.preemptions} preemptions, ${totals.recomputedTokens} tokens recomputed`,
    );
    expect(totals.pagesRestored).toBeGreaterThan(50);
    expect(totals.recomputedTokens).toBe(0);
    expect(restoring.stats().running).toBe(0);
  });
});
