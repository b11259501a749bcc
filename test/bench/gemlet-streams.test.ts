import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { promptWithImages } from '../../infra/bench/bench-images.ts';
import { createGemletStreams } from '../../infra/bench/gemlet-streams.ts';
import { randomTokens } from '../../infra/bench/measure.ts';
import { writeRandomCheckpoint } from '../../infra/bench/random-checkpoint.ts';
import { shapeOf } from '../../infra/bench/shapes.ts';
import { ensureVisionCheckpoint, IMAGES, storedName } from '../../infra/bench/vision-checkpoint.ts';
import { canonicalName } from '../../src/model/tensor-names.ts';

const shape = shapeOf('mini');
const { vocabSize } = shape;

function prompts(count: number): Int32Array[] {
  return Array.from({ length: count }, (_, at) => randomTokens(`stream ${at}`, 32, vocabSize));
}

describe('createGemletStreams', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'gemlet-bench-streams-'));
    writeRandomCheckpoint(join(folder, 'checkpoint'), shape, 'test');
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('times streams together and frees their rows for the next ones', async () => {
    const streams = await createGemletStreams({
      checkpoint: join(folder, 'checkpoint'),
      threads: 1,
      rowCount: 3,
      contextTokens: 512,
      kvBudgetBytes: 0,
    });
    expect(await streams.throughput(prompts(1), 4)).toBeGreaterThan(0);
    expect(await streams.throughput(prompts(3), 4)).toBeGreaterThan(0);
    const tokens = randomTokens('arrival', 200, vocabSize);
    const gaps = await streams.gaps(prompts(2), [
      { tokens, images: [] },
      { tokens: tokens.toReversed(), images: [] },
    ]);
    expect(gaps.arrivalMs).toHaveLength(2);
    // Both streams paused at least once for each of the prompts.
    expect(gaps.gapsMs.length).toBeGreaterThanOrEqual(4);
    expect(Math.min(...gaps.gapsMs, gaps.aloneMs)).toBeGreaterThan(0);
    await expect(streams.throughput([randomTokens('long', 500, vocabSize)], 48)).rejects.toThrow(
      /context was full/,
    );
    await streams.close();
  });

  it('takes images through the vision tower of its own checkpoint', async () => {
    const checkpoint = ensureVisionCheckpoint(join(folder, 'checkpoint'), shape);
    expect(ensureVisionCheckpoint(join(folder, 'checkpoint'), shape)).toBe(checkpoint);
    const streams = await createGemletStreams({
      checkpoint,
      threads: 1,
      rowCount: 2,
      // A toy stream says thousands of tokens while the tower loads.
      contextTokens: 16_384,
      kvBudgetBytes: 0,
    });
    const arrival = promptWithImages('picture', 1, 8, { ...IMAGES, vocabSize });
    expect(arrival.tokens).toHaveLength(8 + 256 + 8);
    const gaps = await streams.gaps(prompts(1), [arrival]);
    expect(gaps.arrivalMs[0]).toBeGreaterThan(0);
    await streams.close();
  });
});

describe('storedName', () => {
  it.each([
    'vision.patch_embedding.weight',
    'vision.patch_embedding.bias',
    'vision.position_embedding',
    'vision.layers.5.self_attn.out_proj.bias',
    'vision.layers.0.layer_norm2.weight',
    'vision.post_layernorm.bias',
    'projector.norm',
    'projector.weight',
  ])('is read back as %s', (name) => {
    expect(canonicalName(storedName(name))).toEqual({ name, part: 'value' });
  });
});
