import { describe, expect, it } from 'vitest';
import { chunkLength, nextChunk, schedule } from '../../src/engine/scheduler.ts';
import type { Schedulable, ScheduleLimits } from '../../src/engine/scheduler.ts';
import { forSeeds } from '../support/seeded-random.ts';

const LIMITS: ScheduleLimits = {
  chunkTokens: 64,
  tokensPerImage: 4,
  budgetTokens: () => Number.POSITIVE_INFINITY,
};

function sequence(part: Partial<Schedulable> = {}): Schedulable {
  return {
    prefillTokens: 10,
    computed: 0,
    imagePositions: [],
    row: null,
    isPaused: false,
    wantsPromptLogprobs: false,
    wantsLogits: true,
    isImageReady: () => true,
    ...part,
  };
}

function logits(part: Partial<Schedulable>): string | undefined {
  return nextChunk(sequence(part), LIMITS, false)?.logits;
}

describe('scheduler', () => {
  it('decodes every running row past its prompt, ascending, except paused ones', () => {
    const high = sequence({ row: 3, computed: 12 });
    const low = sequence({ row: 1, computed: 10 });
    const paused = sequence({ row: 2, computed: 11, isPaused: true });
    const plan = schedule({ running: [high, low, paused], chunkNumber: 0, limits: LIMITS });
    expect(plan.decode).toEqual([low, high]);
    expect(plan.chunk).toBeNull();
  });

  it('gives the one chunk to the oldest prompt that can go on', () => {
    const blocked = sequence({ row: 0, prefillTokens: 9, computed: 3, imagePositions: [3] });
    const held = { ...blocked, isImageReady: () => false };
    const other = sequence({ row: 1, computed: 4 });
    const plan = (first: Schedulable) =>
      schedule({ running: [first, other], chunkNumber: 0, limits: LIMITS }).chunk;
    expect(plan(blocked)?.sequence).toBe(blocked);
    expect(plan(held)?.sequence).toBe(other);
  });

  it('gives every other chunk to the prompt nearest to its first token', () => {
    const long = sequence({ row: 0, prefillTokens: 900, computed: 100 });
    const short = sequence({ row: 1, prefillTokens: 20 });
    const at = (chunkNumber: number) =>
      schedule({ running: [long, short], chunkNumber, limits: LIMITS }).chunk?.sequence;
    expect([at(0), at(1), at(2)]).toEqual([long, short, long]);
  });

  it('asks the budget at the depth of the chunk', () => {
    const deep = sequence({ prefillTokens: 200, computed: 100 });
    const limits = { ...LIMITS, budgetTokens: (start: number) => start / 5 };
    expect(nextChunk(deep, limits, true)?.end).toBe(120);
  });

  it('bounds chunks beside decodes by the budget, and by nothing else', () => {
    const long = sequence({ prefillTokens: 200 });
    const limits = { ...LIMITS, budgetTokens: () => 20 };
    expect(nextChunk(long, limits, true)?.end).toBe(20);
    expect(nextChunk(long, limits, false)?.end).toBe(64);
    // However slow the device, the prompt gets on.
    expect(nextChunk(long, { ...LIMITS, budgetTokens: () => 0 }, true)?.end).toBe(16);
  });

  it('asks for logits only where somebody reads them', () => {
    expect(logits({ prefillTokens: 100 })).toBe('none');
    expect(logits({ prefillTokens: 64 })).toBe('last');
    expect(logits({ prefillTokens: 64, wantsLogits: false })).toBe('none');
    expect(logits({ prefillTokens: 32, wantsLogits: false, wantsPromptLogprobs: true })).toBe(
      'all',
    );
    const image = { prefillTokens: 10, computed: 2, imagePositions: [2] };
    expect(logits(image)).toBe('none');
    expect(logits({ ...image, wantsPromptLogprobs: true })).toBe('last');
    expect(logits({ ...image, prefillTokens: 6 })).toBe('last');
  });

  it('never leaves a chunk that ends in a block of one query', () => {
    for (let limit = 3; limit < 40; limit++) {
      for (let length = 1; length < 200; length++) {
        let left = length;
        while (left > 0) {
          const taken = chunkLength(left, limit);
          expect(taken >= 1 && taken <= limit).toBe(true);
          if (taken % 16 === 1) expect(length).toBe(1);
          left -= taken;
        }
      }
    }
  });

  it('covers any prompt once, image runs whole and text within its bounds', async () => {
    await forSeeds(1000, (random) => {
      const imagePositions: number[] = [];
      let length = 0;
      for (let part = random.integer(0, 5); part > 0; part--) {
        length += random.integer(0, 150);
        imagePositions.push(length);
        length += LIMITS.tokensPerImage;
      }
      length += random.integer(imagePositions.length === 0 ? 1 : 0, 150);
      const wantsPromptLogprobs = random.chance(0.3);
      let computed = 0;
      while (computed < length) {
        const budget = random.integer(0, 100);
        const limits = { ...LIMITS, budgetTokens: () => budget };
        const state = sequence({
          prefillTokens: length,
          computed,
          imagePositions,
          wantsPromptLogprobs,
        });
        const chunk = nextChunk(state, limits, random.chance(0.5));
        if (chunk === null) throw new Error('a ready prompt must get a chunk');
        expect(chunk.start).toBe(computed);
        const size = chunk.end - chunk.start;
        if (imagePositions.includes(computed)) {
          expect(size).toBe(LIMITS.tokensPerImage);
          expect(imagePositions[chunk.imageIndex ?? -1]).toBe(computed);
        } else {
          expect(chunk.imageIndex).toBeNull();
          expect(size).toBeLessThanOrEqual(wantsPromptLogprobs ? 32 : LIMITS.chunkTokens);
          const crossed = imagePositions.filter((at) => at > chunk.start && at < chunk.end);
          expect(crossed).toEqual([]);
          if (size === 1) {
            const partStart = computed === 0 || imagePositions.includes(computed - 4);
            expect(partStart && (chunk.end === length || imagePositions.includes(chunk.end))).toBe(
              true,
            );
          }
        }
        computed = chunk.end;
      }
      expect(computed).toBe(length);
    });
  });
});
