/** What one caller may still do: fills by so many a minute, up to a minute's worth. */
export interface TokenBucket {
  /** Left at this time; below 0 where more was spent than there was. */
  level(nowMs: number): number;
  spend(amount: number, nowMs: number): void;
  /** Milliseconds until so much is there; 0 when it is. */
  waitMs(amount: number, nowMs: number): number;
}

const MINUTE_MS = 60_000;

/** @param perMinute above 0; also what it holds at most */
export function createTokenBucket(perMinute: number, startMs: number): TokenBucket {
  let left = perMinute;
  let atMs = startMs;
  const level = (nowMs: number): number => {
    // Clocks may step back.
    const passedMs = Math.max(0, nowMs - atMs);
    left = Math.min(perMinute, left + (passedMs * perMinute) / MINUTE_MS);
    atMs = nowMs;
    return left;
  };
  return {
    level,
    spend(amount, nowMs) {
      left = level(nowMs) - amount;
    },
    waitMs: (amount, nowMs) => Math.max(0, ((amount - level(nowMs)) * MINUTE_MS) / perMinute),
  };
}
