import { describe, expect, it } from 'vitest';
import {
  chooseFairVictim,
  chooseVictim,
  type Preemptible,
} from '../../../src/engine/queue/preempt.ts';

const NOW = 10_000;

function sequence(over: Partial<Preemptible>): Preemptible {
  return {
    tenant: 'a',
    outcome: null,
    rowSinceMs: 0,
    pausedSinceMs: null,
    completionTokens: 5,
    completionTokensAtRow: 3,
    computed: 20,
    computedAtRow: 10,
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

describe('choice of whose row goes to another tenant', () => {
  const shares = (rows: Record<string, number>, units: Record<string, number> = {}) => ({
    rowsOf: (tenant: string) => rows[tenant] ?? 0,
    served: (tenant: string) => units[tenant] ?? 0,
    keepsPages: true,
  });

  it('takes the newest of the tenant that has at least two rows more', () => {
    const old = sequence({ rowSinceMs: 1 });
    const young = sequence({ rowSinceMs: 5 });
    const other = sequence({ tenant: 'c', rowSinceMs: 9 });
    const running = [old, young, other];
    expect(chooseFairVictim(running, 'b', shares({ a: 2, c: 1 }))).toBe(young);
    expect(chooseFairVictim(running, 'b', shares({ a: 2, c: 1, b: 1 }))).toBeNull();
  });

  it('never takes from the tenant that waits, and nothing from one tenant alone', () => {
    expect(chooseFairVictim([sequence({}), sequence({})], 'a', shares({ a: 2 }))).toBeNull();
  });

  it('lets tenants take turns on one row, by the work they were given', () => {
    const running = [sequence({})];
    expect(chooseFairVictim(running, 'b', shares({ a: 1 }, { a: 255 }))).toBeNull();
    expect(chooseFairVictim(running, 'b', shares({ a: 1 }, { a: 256 }))).toBe(running[0]);
  });

  it('waits for a turn that is worth it where what is in the row would be lost', () => {
    const running = [sequence({ computed: 1000, computedAtRow: 0 })];
    const lossy = { ...shares({ a: 1 }, { a: 1255 }), keepsPages: false };
    expect(chooseFairVictim(running, 'b', lossy)).toBeNull();
    expect(chooseFairVictim(running, 'b', { ...lossy, served: () => 0 })).toBeNull();
    const later = { ...shares({ a: 1 }, { a: 1256 }), keepsPages: false };
    expect(chooseFairVictim(running, 'b', later)).toBe(running[0]);
  });

  it('takes a long prompt that is being read only where its pages are kept', () => {
    const reading = sequence({ completionTokens: 0, completionTokensAtRow: 0, computed: 400 });
    const begun = sequence({ completionTokens: 0, completionTokensAtRow: 0, computed: 200 });
    const rows = shares({ a: 2 });
    expect(chooseFairVictim([reading, begun], 'b', rows)).toBe(reading);
    expect(chooseFairVictim([reading, begun], 'b', { ...rows, keepsPages: false })).toBeNull();
  });
});
