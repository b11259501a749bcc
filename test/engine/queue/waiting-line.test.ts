import { describe, expect, it } from 'vitest';
import { createWaitingLine, type Waiter } from '../../../src/engine/queue/waiting-line.ts';

interface Named extends Waiter {
  readonly name: string;
}

/** `a1`: the first of tenant a. */
function waiter(name: string, over: Partial<Waiter> = {}): Named {
  return { name, tenant: name.slice(0, 1), isPaused: false, isResuming: false, ...over };
}

function lineOf(...waiters: readonly Named[]): ReturnType<typeof createWaitingLine<Named>> {
  const line = createWaitingLine<Named>();
  for (const each of waiters) line.add(each);
  return line;
}

const names = (waiters: readonly Named[]): string => waiters.map(({ name }) => name).join(' ');
const level = { rowsOf: () => 0, served: () => 0 };

describe('line of those who wait for a row', () => {
  it('serves one tenant in the order of coming', () => {
    expect(names(lineOf(waiter('a1'), waiter('a2'), waiter('a3')).candidates(level))).toBe(
      'a1 a2 a3',
    );
  });

  it('serves first who has fewest rows, then who was served least, then every second', () => {
    const line = lineOf(waiter('a1'), waiter('a2'), waiter('b1'), waiter('c1'), waiter('c2'));
    const rows: Record<string, number> = { a: 1, b: 0, c: 0 };
    const units: Record<string, number> = { a: 0, b: 9, c: 3 };
    const rank = {
      rowsOf: (tenant: string) => rows[tenant] ?? 0,
      served: (tenant: string) => units[tenant] ?? 0,
    };
    expect(names(line.candidates(rank))).toBe('c1 b1 a1 c2 a2');
  });

  it('passes over those whose readers do not read, and does not count them', () => {
    const line = lineOf(waiter('a1', { isPaused: true }), waiter('a2'));
    expect(names(line.candidates(level))).toBe('a2');
    expect([line.readyCount, line.all.length]).toEqual([1, 2]);
  });

  it('lets one that lost its row stand before the others of its tenant', () => {
    const line = lineOf(waiter('a1'));
    line.putBack(waiter('a0', { isResuming: true }));
    expect(names(line.candidates(level))).toBe('a0 a1');
  });

  it('removes only who stands in it', () => {
    const first = waiter('a1');
    const line = lineOf(first);
    expect([line.remove(waiter('a1')), line.remove(first), line.remove(first)]).toEqual([
      false,
      true,
      false,
    ]);
    expect(line.all).toEqual([]);
  });

  it('displaces the newest of the tenant with most places, but none that had a row', () => {
    const line = lineOf(waiter('a1'), waiter('a2'), waiter('a3', { isResuming: true }));
    expect(line.displacedBy('b')?.name).toBe('a2');
    line.add(waiter('b1'));
    expect(line.displacedBy('b')?.name).toBe('a2');
    line.add(waiter('b2'));
    expect(line.displacedBy('b')).toBeNull();
    expect(line.displacedBy('a')).toBeNull();
  });
});
