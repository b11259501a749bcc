import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Backend } from '../../../src/engine/backend.ts';
import type { Engine, GenerateEvent, PreparedPrompt } from '../../../src/engine/engine.ts';
import {
  createDemoEngine,
  DEMO_CONTEXT,
  DEMO_PARAMS,
  differsWithinMargin,
  extendDemo,
  tokensOf,
} from '../../support/demo-turns.ts';
import { collect, idsOf } from '../../support/engine-harness.ts';
import { DEMO_FOLDER, loadOnnx } from '../../support/onnx-model.ts';
import { createSeededRandom } from '../../support/seeded-random.ts';

describe.each(['exact', 'fast'] as const)('conversations on the demo model, %s', (precision) => {
  let crowded: Backend;
  let roomy: Backend;
  let lone: Backend;

  beforeAll(async () => {
    const options = { precision, contextTokens: DEMO_CONTEXT };
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
    const restoring = createDemoEngine(crowded, { kvBudgetBytes: 1e9, sliceMs: 20 });
    const undisturbed = createDemoEngine(roomy, {});
    const fresh = createDemoEngine(lone, {});
    let prompts = Array.from({ length: 6 }, (_, number) =>
      extendDemo(
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
        Promise.all(prompts.map((prompt) => collect(engine.generate(prompt, DEMO_PARAMS))));
      const restored = await run(restoring);
      const expected = await run(undisturbed);
      for (const [at, events] of restored.entries()) {
        // Ids and log probabilities, to the last bit.
        expect(tokensOf(events)).toEqual(tokensOf(expected[at] ?? []));
        const scope = `fresh ${turn} ${at}`;
        const prompt = prompts[at] as PreparedPrompt;
        const anew = tokensOf(await collect(fresh.generate({ ...prompt, scope }, DEMO_PARAMS)));
        compared += anew.length;
        if (differsWithinMargin(tokensOf(events), anew)) withinMargin++;
      }
      prompts = prompts.map((prompt, at) =>
        extendDemo(random, prompt, idsOf(restored[at] ?? []), tokensPerImage),
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
