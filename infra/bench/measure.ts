import type { BenchEngine } from './bench-engine.ts';
import { createRandom } from './random.ts';
import { median } from './stats.ts';

export interface MeasurePlan {
  readonly vocabSize: number;
  /** Prompt length of the prefill measurement, in tokens. */
  readonly prefillTokens: number;
  readonly prefillRepeats: number;
  /** Tokens held before each decode measurement, ascending. */
  readonly decodeContexts: readonly number[];
  /** Tokens decoded at each of them. */
  readonly decodeTokens: number;
}

export interface Measurement {
  /** One per repeat. */
  readonly prefillTokensPerSecond: readonly number[];
  /** One per context; the median over its tokens. */
  readonly decodeMs: readonly { readonly context: number; readonly ms: number }[];
}

/**
 * Times one engine. Both engines go through this same function with the same ids: prefill from
 * empty some times over, then decode at growing lengths of one sequence.
 * @param now milliseconds, monotonic
 */
export async function measure(
  engine: BenchEngine,
  plan: MeasurePlan,
  now: () => number = () => performance.now(),
): Promise<Measurement> {
  const longest = Math.max(plan.prefillTokens, ...plan.decodeContexts) + plan.decodeTokens;
  const tokens = randomTokens('measure', longest, plan.vocabSize);
  // Both decode kernels and prefill kernels run once before anything is timed.
  await engine.extend(tokens.subarray(0, Math.min(64, plan.prefillTokens)));
  await engine.extend(tokens.subarray(0, 1));
  const prefillTokensPerSecond: number[] = [];
  for (let repeat = 0; repeat < plan.prefillRepeats; repeat += 1) {
    engine.reset();
    const start = now();
    await engine.extend(tokens.subarray(0, plan.prefillTokens));
    prefillTokensPerSecond.push((plan.prefillTokens * 1000) / (now() - start));
  }
  engine.reset();
  let length = 0;
  const decodeMs: { context: number; ms: number }[] = [];
  for (const context of plan.decodeContexts) {
    if (context > length) await engine.extend(tokens.subarray(length, context));
    length = Math.max(length, context);
    const times: number[] = [];
    for (let i = 0; i < plan.decodeTokens; i += 1) {
      const start = now();
      await engine.extend(tokens.subarray(length, length + 1));
      times.push(now() - start);
      length += 1;
    }
    decodeMs.push({ context, ms: median(times) });
  }
  engine.reset();
  return { prefillTokensPerSecond, decodeMs };
}

/** Logits of the token after a prompt, for each prompt length. */
export async function collectLogits(
  engine: BenchEngine,
  lengths: readonly number[],
  vocabSize: number,
): Promise<Float32Array[]> {
  const results: Float32Array[] = [];
  for (const length of lengths) {
    engine.reset();
    await engine.extend(randomTokens(`prompt ${length}`, length, vocabSize));
    results.push(await engine.logits());
  }
  engine.reset();
  return results;
}

/** Ids of ordinary tokens: above the special ones that begin every Gemma vocabulary. */
export function randomTokens(seed: string, count: number, vocabSize: number): Int32Array {
  const first = Math.min(512, vocabSize >> 1);
  const words = new Uint32Array(count);
  createRandom(seed).draw(words);
  return Int32Array.from(words, (word) => first + (word % (vocabSize - first)));
}
