import { ServeError } from '../../errors.ts';
import { PAUSE_LIMIT_MS } from './preempt.ts';

/** What is known of a sequence's reader. */
export interface Read {
  readonly isPaused: boolean;
  /** Since when the reader has been behind; null while it is not. */
  pausedSinceMs: number | null;
}

/** Notes since when readers are behind. */
export function notePauses(sequences: readonly Read[], nowMs: number): void {
  for (const sequence of sequences) {
    sequence.pausedSinceMs = sequence.isPaused ? (sequence.pausedSinceMs ?? nowMs) : null;
  }
}

/**
 * Sequences to give up: their readers took nothing for `stallMs`, or more than `maxParked` wait for readers
 * that do not read, those that do so longest first.
 */
export function stalledReaders<S extends Read>(
  running: readonly S[],
  waiting: readonly S[],
  nowMs: number,
  limits: { readonly stallMs: number; readonly maxParked: number },
): readonly S[] {
  const since = ({ pausedSinceMs }: S): number => pausedSinceMs ?? Number.POSITIVE_INFINITY;
  const isStalled = (sequence: S): boolean => nowMs - since(sequence) >= limits.stallMs;
  const parked = waiting.filter(({ pausedSinceMs }) => pausedSinceMs !== null);
  const surplus = parked
    .toSorted((a, b) => since(a) - since(b))
    .slice(0, Math.max(0, parked.length - limits.maxParked));
  return Array.from(
    new Set([...surplus, ...running.filter(isStalled), ...parked.filter(isStalled)]),
  );
}

/** When a pause will have consequences that nothing else would bring about; null where none will. */
export function nextPauseMs(
  running: readonly Read[],
  waiting: readonly Read[],
  nowMs: number,
  stallMs: number,
): number | null {
  const isWaitedFor = waiting.some(({ isPaused }) => !isPaused);
  let next = Number.POSITIVE_INFINITY;
  for (const { pausedSinceMs } of running) {
    if (pausedSinceMs === null) continue;
    const makesWayMs = pausedSinceMs + PAUSE_LIMIT_MS;
    // A row that was not taken when it could have been will not be taken by looking again.
    if (isWaitedFor && makesWayMs > nowMs) next = Math.min(next, makesWayMs);
    next = Math.min(next, pausedSinceMs + stallMs);
  }
  for (const { pausedSinceMs } of waiting) {
    if (pausedSinceMs !== null) next = Math.min(next, pausedSinceMs + stallMs);
  }
  return Number.isFinite(next) ? next : null;
}

/** What the reader of a stream finds at its end when it was given up. */
export function readerStalled(pausedMs: number): ServeError {
  return new ServeError(
    'reader_stalled',
    `Nothing of this answer was read for ${Math.round(pausedMs / 1000)} s, so it was given up. Read streams as they come, or ask for less at once.`,
  );
}
