import { uniformAt } from '../../src/engine/random.ts';

/** Repeatable choices for property tests. */
export interface SeededRandom {
  /** [0, 1) */
  next(): number;
  /** A whole number in [from, to], both included. */
  integer(from: number, to: number): number;
  pick<T>(values: readonly T[]): T;
  chance(probability: number): boolean;
}

export function createSeededRandom(seed: number): SeededRandom {
  let index = 0;
  const next = (): number => uniformAt(seed, index++);
  const integer = (from: number, to: number): number => from + Math.floor(next() * (to - from + 1));
  return {
    next,
    integer,
    pick: (values) => values[integer(0, values.length - 1)] as (typeof values)[number],
    chance: (probability) => next() < probability,
  };
}

/** Runs `check` with seeds from `first` on and names the seed of the first failure. */
export async function forSeeds(
  count: number,
  check: (random: SeededRandom, seed: number) => void | Promise<void>,
  first = 1,
): Promise<void> {
  for (let seed = first; seed < first + count; seed++) {
    try {
      await check(createSeededRandom(seed), seed);
    } catch (error) {
      throw new Error(`failed with seed ${seed}`, { cause: error });
    }
  }
}
