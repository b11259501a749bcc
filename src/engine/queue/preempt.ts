/** What the choice depends on. */
export interface Preemptible {
  readonly tenant: string;
  readonly outcome: unknown;
  /** When it got its row. */
  readonly rowSinceMs: number;
  /** Since when its reader has been behind; null while it is not. */
  readonly pausedSinceMs: number | null;
  /** Generated in all, and when it got its row. */
  readonly completionTokens: number;
  readonly completionTokensAtRow: number;
  /** Tokens in its row, and when it got it. */
  readonly computed: number;
  readonly computedAtRow: number;
}

/** A reader so far behind holds a row that somebody else could use. */
export const PAUSE_LIMIT_MS = 1000;

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
    if (outcome !== null || !hasSpoken(sequence)) continue;
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

/** What tenants have, when one of them waits for a row. */
export interface TenantShares {
  rowsOf(tenant: string): number;
  served(tenant: string): number;
  /** Whether what a row holds survives its loss: else it is computed again. */
  readonly keepsPages: boolean;
}

/** Work by which a tenant may be ahead before a row of its changes hands. */
const TURN_UNITS = 256;
/** Prompt tokens that must have been read before an answer that says nothing yet makes way. */
const PAGE_TOKENS = 256;

/**
 * Chooses the running sequence whose row should go to another tenant: where one has at least two rows more,
 * at once; where it has one more, when it is ahead in work too, so that they take turns. Never between
 * sequences of one tenant. Of the tenant with the most rows the newest goes.
 * @param tenant who waits
 * @returns null when rows are shared fairly as they are
 */
export function chooseFairVictim<S extends Preemptible>(
  running: readonly S[],
  tenant: string,
  shares: TenantShares,
): S | null {
  const own = shares.rowsOf(tenant);
  const ownUnits = shares.served(tenant);
  let victim: S | null = null;
  let most = 0;
  for (const sequence of running) {
    const { outcome, tenant: other, rowSinceMs } = sequence;
    if (outcome !== null || other === tenant || !mayMove(sequence, shares.keepsPages)) continue;
    const more = shares.rowsOf(other) - own;
    // What is lost with the row must be worth less than the turn.
    const turnUnits = TURN_UNITS + (shares.keepsPages ? 0 : sequence.computed);
    if (more < 1 || (more < 2 && shares.served(other) - ownUnits < turnUnits)) continue;
    if (more < most || (more === most && rowSinceMs < (victim?.rowSinceMs ?? 0))) continue;
    victim = sequence;
    most = more;
  }
  return victim;
}

function hasSpoken({ completionTokens, completionTokensAtRow }: Preemptible): boolean {
  return completionTokens > completionTokensAtRow;
}

/** It got something done since it has its row, and that is not lost: else rows could go round for ever. */
function mayMove(sequence: Preemptible, keepsPages: boolean): boolean {
  if (hasSpoken(sequence)) return true;
  return keepsPages && sequence.computed - sequence.computedAtRow >= PAGE_TOKENS;
}
