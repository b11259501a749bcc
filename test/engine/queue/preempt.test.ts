import { describe, expect, it } from 'vitest';
import { chooseVictim, type Preemptible } from '../../src/engine/preempt.ts';

const NOW = 10_000;

function sequence(over: Partial<Preemptible>): Preemptible {
  return {
    outcome: null,
    rowSinceMs: 0,
    pausedSinceMs: null,
    completionTokens: 5,
    completionTokensAtRow: 3,
    ...over,
  };
}

describe('choice of who makes way', () => {
  it('takes nobody who is being read when running time is not bounded', () => {
    expect(chooseVictim([sequence({}), sequence({})], NOW, Number.POSITIVE_INFINITY)).toBeNull();
  });

  it('takes the reader that has been away longest, though not one that just blinked', () => {
    const away = sequence({ pausedSinceMs: 2000, rowSinceMs: 9000 });
    const longer = sequence({ pausedSinceMs: 1000, rowSinceMs: 9000 });
    const blinked = sequence({ pausedSinceMs: 9500 });
    expect(chooseVictim([away, longer, blinked], NOW, 5000)).toBe(longer);
    expect(chooseVictim([blinked], NOW, Number.POSITIVE_INFINITY)).toBeNull();
  });

  it('takes whoever has had the row longest, but nobody who has said nothing since', () => {
    const silent = sequence({ completionTokens: 3 });
    const old = sequence({ rowSinceMs: 2000 });
    const young = sequence({ rowSinceMs: 7000 });
    const ended = sequence({ rowSinceMs: 1000, outcome: 'stop' });
    expect(chooseVictim([silent, young, old, ended], NOW, 5000)).toBe(old);
    expect(chooseVictim([silent, young], NOW, 5000)).toBeNull();
  });
});
