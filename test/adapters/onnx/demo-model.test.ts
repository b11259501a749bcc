import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createNodeImageDecoder } from '../../../adapters/node/image-decoder.ts';
import type { Backend } from '../../../src/engine/backend.ts';
import { parseImageConfig, type ImageConfig } from '../../../src/image/image-config.ts';
import { preprocess, toPixels } from '../../../src/image/preprocess.ts';
import {
  DEMO_CASES,
  picturesOf,
  readDemoPicture,
  type DemoCase,
} from '../../support/demo-cases.ts';
import { readDemoJson } from '../../support/demo-model.ts';
import { argmax, DEMO_FOLDER, loadOnnx, promptParts } from '../../support/onnx-model.ts';

const IMAGE_TOKEN = 2047;
const TOKENS_PER_IMAGE = 16;

/** The demo model against the reference's answers to 99 turns, token by token. */
describe('the demo model', () => {
  let exact: Backend;
  let fast: Backend;
  let imageConfig: ImageConfig;
  const decoder = createNodeImageDecoder();
  beforeAll(async () => {
    exact = await loadOnnx(DEMO_FOLDER, { precision: 'exact' });
    fast = await loadOnnx(DEMO_FOLDER, { precision: 'fast' });
    const vision = exact.config.vision;
    if (vision === null) throw new Error('the demo model sees');
    imageConfig = parseImageConfig(readDemoJson('preprocessor_config.json'), vision);
  });
  afterAll(async () => {
    await exact.close();
    await fast.close();
  });

  /** Logits before each token of the reference's answer, that answer being forced. */
  async function forcedLogits(backend: Backend, demoCase: DemoCase): Promise<Float32Array[]> {
    const { prompt_ids: prompt, greedy_ids: answer } = demoCase;
    const pictures = picturesOf(demoCase);
    backend.truncate(0, 0);
    const logits: Float32Array[] = [];
    for (const { from, to, image } of promptParts(prompt, IMAGE_TOKEN, TOKENS_PER_IMAGE)) {
      let features: Float32Array | null = null;
      if (image !== null) {
        const picture = await decoder.decode(readDemoPicture(pictures[image] as string));
        const pixels = toPixels(await preprocess(picture, imageConfig), imageConfig);
        features = await backend.encodeImages(pixels, 1);
      }
      const step = await backend.forward({
        decode: [],
        chunk: {
          row: 0,
          start: from,
          tokens: Int32Array.from(prompt.slice(from, to)),
          image: features,
          logits: to === prompt.length ? 'last' : 'none',
        },
      });
      if (to === prompt.length) logits.push(step.chunk.slice());
    }
    for (const token of answer.slice(0, -1)) {
      const step = await backend.forward({
        decode: [{ row: 0, start: backend.length(0), token }],
        chunk: null,
      });
      logits.push(step.decode.slice());
    }
    return logits;
  }

  it('answers as the reference in exact, and stays within bounds in fast', async () => {
    let tokenCount = 0;
    let divergence = 0;
    let sameTop = 0;
    let equalTexts = 0;
    let largestError = 0;
    for (const demoCase of DEMO_CASES) {
      const { greedy_ids: answer, logprobs } = demoCase;
      const reference = await forcedLogits(exact, demoCase);
      const rounded = await forcedLogits(fast, demoCase);
      expect(reference.map(argmax), `case ${demoCase.case}, turn ${demoCase.turn}`).toEqual(answer);
      const fastTops = rounded.map(argmax);
      if (fastTops.every((token, i) => token === answer[i])) equalTexts++;
      for (const [i, logits] of reference.entries()) {
        const p = logSoftmax(logits);
        const q = logSoftmax(rounded[i] as Float32Array);
        largestError = Math.max(
          largestError,
          Math.abs((p[answer[i] as number] as number) - (logprobs[i] as number)),
        );
        for (const [id, logP] of p.entries())
          divergence += Math.exp(logP) * (logP - (q[id] as number));
        if (fastTops[i] === answer[i]) sameTop++;
        tokenCount++;
      }
    }
    const mean = divergence / tokenCount;
    console.info(
      `exact: ${DEMO_CASES.length} of ${DEMO_CASES.length} answers equal, log probabilities within ${largestError.toExponential(1)}; ` +
        `fast: ${equalTexts} of ${DEMO_CASES.length} answers equal, top-1 ${((100 * sameTop) / tokenCount).toFixed(2)} %, mean KL ${mean.toExponential(1)} nats over ${tokenCount} tokens`,
    );
    // The goldens are rounded to 5 decimals.
    expect(largestError).toBeLessThan(1e-4);
    expect(mean).toBeLessThan(0.01);
    expect(sameTop / tokenCount).toBeGreaterThanOrEqual(0.99);
    expect(equalTexts / DEMO_CASES.length).toBeGreaterThanOrEqual(0.97);
  }, 120_000);
});

function logSoftmax(logits: Float32Array): Float64Array {
  const largest = logits.reduce((most, value) => Math.max(most, value), -Infinity);
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - largest);
  const logSum = largest + Math.log(sum);
  return Float64Array.from(logits, (value) => value - logSum);
}
