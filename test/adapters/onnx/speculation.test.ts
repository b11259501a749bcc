import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Backend } from '../../../src/engine/backend.ts';
import type { GenerateEvent, SamplingParams } from '../../../src/engine/engine.ts';
import { createLocalEngine } from '../../../src/engine/local-engine.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import { collect, GREEDY } from '../../support/engine-harness.ts';
import { DEMO_FOLDER, loadOnnx } from '../../support/onnx-model.ts';
import { createSeededRandom } from '../../support/seeded-random.ts';

const CONTEXT = 512;
/** A checked token is computed as a prompt's: top logits nearer than this may swap. */
const MARGIN_NATS = { exact: 1e-3, fast: 0.25 };

type TokenEvent = Extract<GenerateEvent, { type: 'token' }>;

describe.each(['exact', 'fast'] as const)('speculation on the demo model, %s', (precision) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await loadOnnx(DEMO_FOLDER, { precision, contextTokens: CONTEXT, rowCount: 2 });
  });
  afterAll(() => backend.close());

  async function answers(speculates: boolean, params: SamplingParams) {
    const { config } = backend;
    let drafts = 0;
    const engine = createLocalEngine({
      backend,
      tokens: {
        vocabSize: config.text.vocabSize,
        bytes: () => new Uint8Array(0),
        suppressed: [],
      },
      model: { config, contextTokens: CONTEXT, precision },
      toPixels: () => new Float32Array(0),
      clock: systemClock,
      maxWaiting: 8,
      speculates,
      onEvent: (event) => {
        if (event.type === 'step' && event.draftTokens > 0) drafts++;
      },
    });
    const random = createSeededRandom(7);
    const all: TokenEvent[][] = [];
    for (let at = 0; at < 6; at++) {
      const phrase = Array.from({ length: 8 }, () => random.integer(100, 1900));
      const tokens = Int32Array.of(2, ...phrase, ...phrase, ...phrase);
      const prompt = { tokens, images: [], assistantSpans: [], scope: `${speculates} ${at}` };
      const events = await collect(engine.generate(prompt, params));
      all.push(events.filter((event) => event.type === 'token'));
    }
    return { all, drafts, accepted: engine.stats().totals.speculation.acceptedTokens };
  }

  it.each([
    ['greedy', { temperature: 0 }],
    ['sampled', { temperature: 0.7, topK: 64, topP: 0.95, seed: 5 }],
  ])('chooses what is chosen without it but for near ties, %s', async (_, more) => {
    const params = { ...GREEDY, maxTokens: 64, logprobs: 2, ...more };
    const plain = await answers(false, params);
    const drafted = await answers(true, params);
    let near = 0;
    for (const [at, tokens] of plain.all.entries()) {
      const other = drafted.all[at] ?? [];
      expect(other).toHaveLength(tokens.length);
      const differs = tokens.findIndex(({ id }, index) => other[index]?.id !== id);
      if (differs < 0) continue;
      near++;
      const ours = tokens[differs]?.logprobs?.logprob ?? 0;
      const theirs = other[differs]?.logprobs?.logprob ?? -9;
      // A draw can also fall right on the border of two tokens that are not alike in probability.
      if (more.temperature === 0)
        expect(Math.abs(ours - theirs)).toBeLessThan(MARGIN_NATS[precision]);
    }
    console.log(
      `${precision}: ${drafted.drafts} drafts, ${drafted.accepted} tokens accepted, ${near} of ${plain.all.length} answers differ`,
    );
    expect(plain.drafts).toBe(0);
    expect(drafted.drafts).toBeGreaterThan(0);
    expect(near).toBeLessThan(plain.all.length / 2);
  });
});
