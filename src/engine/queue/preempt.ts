/** What the choice depends on. */
export interface Preemptible {
  readonly outcome: unknown;
  /** When it got its row. */
  readonly rowSinceMs: number;
  /** Since when its reader has been behind; null while it is not. */
  readonly pausedSinceMs: number | null;
  /** Generated in all, and when it got its row. */
  readonly completionTokens: number;
  readonly completionTokensAtRow: number;
}

/** A reader so far behind holds a row that somebody else could use. */
const PAUSE_LIMIT_MS = 1000;

/**
 * Chooses the running sequence that makes way for a waiting one: one whose reader stopped reading,
 * longest first; else, where running time is bounded, the one that has had its row longest. Whoever has
 * said nothing since it got its row stays: else two could take it from each other for ever.
 * @returns null when all may stay
 */
export function chooseVictim<S extends Preemptible>(
  running: readonly S[],
  nowMs: number,
  sliceMs: number,
): S | null {
  let victim: S | null = null;
  let victimKey = Number.NEGATIVE_INFINITY;
  for (const sequence of running) {
    const { outcome, pausedSinceMs, rowSinceMs } = sequence;
    if (outcome !== null || sequence.completionTokens <= sequence.completionTokensAtRow) continue;
    const pausedMs = pausedSinceMs === null ? 0 : nowMs - pausedSinceMs;
    const heldMs = nowMs - rowSinceMs;
    const isPausedLong = pausedSinceMs !== null && pausedMs >= PAUSE_LIMIT_MS;
    if (!isPausedLong && heldMs < sliceMs) continue;
    // Idle readers come before all busy ones.
    const key = isPausedLong ? Number.MAX_SAFE_INTEGER / 2 + pausedMs : heldMs;
    if (key <= victimKey) continue;
    victim = sequence;
    victimKey = key;
  }
  return victim;
}
