import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Backend } from '../../../src/engine/backend.ts';
import { chunkLength } from '../../../src/engine/scheduler.ts';
import { DEMO_FOLDER, loadOnnx } from '../../support/onnx-model.ts';
import { createSeededRandom } from '../../support/seeded-random.ts';

const ROWS = 8;
const IMAGE_TOKEN = 2047;
const TOKENS_PER_IMAGE = 16;
const HIDDEN = 192;
const SEED = 20_261_124;

/** What is promised of `fast`: the same prompt gives the same bits, whatever runs beside it. */
describe('equal bits in fast', () => {
  const seeded = createSeededRandom(SEED);
  const random = (): number => seeded.next();
  const whole = (limit: number): number => Math.floor(random() * limit);
  const randomTokens = (count: number): Int32Array =>
    Int32Array.from({ length: count }, () => 300 + whole(1700));
  let backend: Backend;
  beforeAll(async () => {
    backend = await loadOnnx(DEMO_FOLDER, { precision: 'fast', rowCount: ROWS });
  });
  afterAll(() => backend.close());

  /** Prefills `tokens` into an emptied row, cut before the given positions. */
  async function prefill(
    row: number,
    tokens: Int32Array,
    cuts: readonly number[],
    image: Float32Array | null = null,
    imageAt = -1,
  ): Promise<Float32Array> {
    backend.truncate(row, 0);
    const borders = [...cuts, tokens.length];
    let start = 0;
    let logits: Float32Array = new Float32Array(0);
    for (const end of borders) {
      const step = await backend.forward({
        decode: [],
        chunk: {
          row,
          start,
          tokens: tokens.subarray(start, end),
          image: start === imageAt ? image : null,
          logits: end === tokens.length ? 'last' : 'none',
        },
      });
      logits = step.chunk.slice();
      start = end;
    }
    return logits;
  }

  /** Cuts [from, to) as the scheduler would under limits that change at random. */
  function randomCuts(from: number, to: number): number[] {
    const cuts: number[] = [];
    for (let at = from; at < to;) {
      at += chunkLength(to - at, 3 + whole(backend.chunkTokens - 2));
      if (at < to) cuts.push(at);
    }
    return cuts;
  }

  it('gives one prompt cut at random places the same logits 40 times', async () => {
    // Long enough that the window of 96 has passed and the ring of 512 has been compacted.
    const tokens = randomTokens(900);
    const expected = await prefill(0, tokens, [256, 512, 768]);
    for (let round = 0; round < 40; round++) {
      const cuts = randomCuts(0, tokens.length);
      const actual = await prefill(whole(ROWS), tokens, cuts);
      expect(actual, `seed ${SEED}, cuts ${cuts.join(' ')}`).toEqual(expected);
    }
  });

  it('gives a prompt with an image the same logits however its text is cut', async () => {
    const before = 300;
    const tokens = randomTokens(before + TOKENS_PER_IMAGE + 200);
    tokens.fill(IMAGE_TOKEN, before, before + TOKENS_PER_IMAGE);
    const image = Float32Array.from({ length: TOKENS_PER_IMAGE * HIDDEN }, () => random() - 0.5);
    const after = before + TOKENS_PER_IMAGE;
    const expected = await prefill(0, tokens, [150, before, after], image, before);
    for (let round = 0; round < 10; round++) {
      const cuts = [...randomCuts(0, before), before, after, ...randomCuts(after, tokens.length)];
      const actual = await prefill(whole(ROWS), tokens, cuts, image, before);
      expect(actual, `seed ${SEED}, cuts ${cuts.join(' ')}`).toEqual(expected);
    }
  });

  it('gives eight rows decoded together the logits each has alone, over 300 steps', async () => {
    const prompts = Array.from({ length: ROWS }, () => randomTokens(20 + whole(400)));
    const steps = 300;
    const answers = prompts.map(() => randomTokens(steps));
    const alone: Float32Array[] = [];
    for (const [i, prompt] of prompts.entries()) {
      await prefill(3, prompt, randomCuts(0, prompt.length));
      for (const token of answers[i] ?? []) {
        const step = await backend.forward({
          decode: [{ row: 3, start: backend.length(3), token }],
          chunk: null,
        });
        alone[i] = step.decode.slice();
      }
    }
    for (const [row, prompt] of prompts.entries()) {
      await prefill(row, prompt, randomCuts(0, prompt.length));
    }
    let together: Float32Array = new Float32Array(0);
    for (let at = 0; at < steps; at++) {
      const decode = answers.map((answer, row) => ({
        row,
        start: backend.length(row),
        token: answer[at] as number,
      }));
      together = (await backend.forward({ decode, chunk: null })).decode;
    }
    const vocab = together.length / ROWS;
    for (const [row, expected] of alone.entries()) {
      const actual = together.slice(row * vocab, (row + 1) * vocab);
      expect(actual, `row ${row}, seed ${SEED}`).toEqual(expected);
    }
  });

  it('leaves idle rows between decoding ones as they were', async () => {
    const idle = randomTokens(200);
    const expected = await prefill(1, idle, [100]);
    await prefill(0, randomTokens(30), []);
    await prefill(2, randomTokens(40), []);
    await prefill(1, idle.subarray(0, 198), [100]);
    for (let at = 0; at < 150; at++) {
      await backend.forward({
        decode: [0, 2].map((row) => ({ row, start: backend.length(row), token: 300 + at })),
        chunk: null,
      });
    }
    const step = await backend.forward({
      decode: [],
      chunk: { row: 1, start: 198, tokens: idle.subarray(198), image: null, logits: 'last' },
    });
    expect(step.chunk.slice()).toEqual(expected);
  });

  it('continues a cut back or copied row as if the rest had never been', async () => {
    const tokens = randomTokens(600);
    const expected = await prefill(4, tokens, [256, 512]);
    await prefill(5, tokens.subarray(0, 590), [256, 512]);
    for (let at = 0; at < 20; at++) {
      await backend.forward({
        decode: [{ row: 5, start: backend.length(5), token: 700 + at }],
        chunk: null,
      });
    }
    expect(backend.truncate(5, 590)).toBe(590);
    backend.copyRow(5, 6, 590);
    for (const row of [5, 6]) {
      const step = await backend.forward({
        decode: [],
        chunk: { row, start: 590, tokens: tokens.subarray(590), image: null, logits: 'last' },
      });
      expect(step.chunk.slice(), `row ${row}`).toEqual(expected);
    }
  });
});
