import { createRateMeter } from './rate-meter.ts';

export interface RestoreCost {
  /** Tokens that a restore would save computing. */
  readonly tokens: number;
  /** To be fetched for them. */
  readonly bytes: number;
  readonly latencyMs: number;
  /** null: not known yet. */
  readonly bytesPerSecond: number | null;
  /** Prefill; null: not known yet. */
  readonly tokensPerSecond: number | null;
}

export interface RestoreDecision {
  readonly choice: 'restore' | 'recompute';
  /** null where the rate is not known. */
  readonly restoreMs: number | null;
  readonly recomputeMs: number | null;
}

/** The faster way; restoring where one is not known, since that is how the rate becomes known. */
export function decideRestore(cost: RestoreCost): RestoreDecision {
  const { tokens, bytes, latencyMs, bytesPerSecond, tokensPerSecond } = cost;
  const restoreMs = bytesPerSecond === null ? null : latencyMs + (bytes * 1000) / bytesPerSecond;
  const recomputeMs = tokensPerSecond === null ? null : (tokens * 1000) / tokensPerSecond;
  const isSlower = restoreMs !== null && recomputeMs !== null && restoreMs > recomputeMs;
  return { choice: isSlower ? 'recompute' : 'restore', restoreMs, recomputeMs };
}

export interface KvShape {
  readonly kvTokenBytes: { readonly global: number; readonly local: number };
  readonly windowTokens: number;
}

/** Bytes that bring back tokens [from, to): global layers whole, local ones within the window. */
export function restoreBytes(shape: KvShape, from: number, to: number): number {
  const { kvTokenBytes, windowTokens } = shape;
  const localTokens = Math.min(to - from, windowTokens - 1);
  return (to - from) * kvTokenBytes.global + localTokens * kvTokenBytes.local;
}

/**
 * The least number of tokens from the start on whose restore is no slower than to compute them, of a
 * prefill that goes on at one speed.
 * @returns null when no number is
 */
export function breakEvenTokens(
  shape: KvShape,
  rates: {
    readonly latencyMs: number;
    readonly bytesPerSecond: number;
    readonly tokensPerSecond: number;
  },
): number | null {
  const { latencyMs, bytesPerSecond, tokensPerSecond } = rates;
  const { global, local } = shape.kvTokenBytes;
  const inWindow = shape.windowTokens - 1;
  // Seconds that a token saves: few within the window, more behind it.
  const savedFirst = 1 / tokensPerSecond - (global + local) / bytesPerSecond;
  const savedLater = 1 / tokensPerSecond - global / bytesPerSecond;
  const debt = latencyMs / 1000;
  if (savedFirst > 0 && debt <= savedFirst * inWindow) return Math.ceil(debt / savedFirst);
  if (savedLater <= 0) return null;
  return inWindow + Math.ceil((debt - savedFirst * inWindow) / savedLater);
}

/** What fetches have taught about the store. */
export interface FetchMeter {
  readonly latencyMs: number;
  readonly bytesPerSecond: number | null;
  /** A request without a body has come back. */
  answered(ms: number): void;
  /** All reads of one fetch are over. */
  fetched(bytes: number, ms: number): void;
}

/** Share of a new latency in the mean. */
const LATENCY_WEIGHT = 0.2;

export function createFetchMeter(): FetchMeter {
  const rate = createRateMeter();
  let latency: number | null = null;
  return {
    get latencyMs() {
      return latency ?? 0;
    },
    get bytesPerSecond() {
      return rate.perSecond;
    },
    answered(ms) {
      latency = latency === null ? ms : latency + LATENCY_WEIGHT * (ms - latency);
    },
    fetched(bytes, ms) {
      // Latency counts on its own; without a time left the sample says nothing about bandwidth.
      const transferMs = ms - (latency ?? 0);
      if (bytes > 0 && transferMs > 0) rate.add(bytes, transferMs);
    },
  };
}
