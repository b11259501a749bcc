/** Amounts a second, learnt from samples; recent ones count more. */
export interface RateMeter {
  /** null before the first sample that took time. */
  readonly perSecond: number | null;
  /** @param ms time in which `amount` went by */
  add(amount: number, ms: number): void;
}

/** @param memoryMs of busy time after which a sample's weight has fallen to a third */
export function createRateMeter(memoryMs = 10_000): RateMeter {
  let perSecond: number | null = null;
  /** What clocks were too coarse to see time pass for. */
  let untimed = 0;
  return {
    get perSecond() {
      return perSecond;
    },
    add(amount, ms) {
      untimed += amount;
      if (ms <= 0) return;
      const sample = (untimed * 1000) / ms;
      untimed = 0;
      const weight = perSecond === null ? 1 : 1 - Math.exp(-ms / memoryMs);
      perSecond = (perSecond ?? 0) + weight * (sample - (perSecond ?? 0));
    },
  };
}
