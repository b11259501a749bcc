import type { Clock } from './lib/clock.ts';

/** How far the load of a model is. */
export interface LoadProgress {
  readonly phase: 'describing' | 'downloading' | 'preparing' | 'ready';
  readonly loadedBytes: number;
  /** null while it is not known. */
  readonly totalBytes: number | null;
  /** Smoothed over the last seconds; 0 while nothing comes. */
  readonly bytesPerSecond: number;
  /** Milliseconds until the last byte, by the present rate; null where it cannot be told. */
  readonly etaMs: number | null;
  /** Milliseconds since 1970. */
  readonly startedMs: number;
}

/** Turns counts of bytes into a rate and an estimate. */
export interface ProgressMeter {
  /** @param totalBytes null while it is not known */
  update(loadedBytes: number, totalBytes: number | null): void;
  /** The load is done. */
  finish(): void;
  read(): LoadProgress;
}

/** What came this long ago counts e times less. */
const SMOOTHING_MS = 5_000;
/** Counts that come faster are taken together: a rate over less is noise. */
const SAMPLE_MS = 200;

/** Creates the meter of one load, which starts now. */
export function createProgressMeter(clock: Clock): ProgressMeter {
  const startedMs = clock.now();
  let phase: LoadProgress['phase'] = 'describing';
  let loadedBytes = 0;
  let totalBytes: number | null = null;
  let rate = 0;
  /** When the first count came; what lay before is no part of the rate. */
  let firstMs: number | null = null;
  let sampleMs = startedMs;
  let sampleBytes = 0;

  /** Silence after the last sample counts as time in which nothing came. */
  function rateNow(nowMs: number): number {
    const silentMs = nowMs - sampleMs - SAMPLE_MS;
    return silentMs <= SMOOTHING_MS ? rate : rate * Math.exp(1 - silentMs / SMOOTHING_MS);
  }

  return {
    update(loaded, total) {
      if (phase === 'ready') return;
      const nowMs = clock.now();
      loadedBytes = loaded;
      totalBytes = total;
      phase = total !== null && loaded >= total ? 'preparing' : 'downloading';
      if (firstMs === null) {
        firstMs = nowMs;
      } else {
        const elapsedMs = nowMs - sampleMs;
        if (elapsedMs < SAMPLE_MS) return;
        const sample = (Math.max(0, loaded - sampleBytes) / elapsedMs) * 1000;
        // At first this is the plain mean: there is nothing older to forget.
        const weight = Math.max(
          1 - Math.exp(-elapsedMs / SMOOTHING_MS),
          elapsedMs / (nowMs - firstMs),
        );
        rate += weight * (sample - rate);
      }
      sampleMs = nowMs;
      sampleBytes = loaded;
    },
    finish() {
      phase = 'ready';
    },
    read() {
      const isComing = phase === 'downloading';
      const bytesPerSecond = isComing ? Math.round(rateNow(clock.now())) : 0;
      const isKnown = isComing && totalBytes !== null && bytesPerSecond > 0;
      const leftBytes = (totalBytes ?? 0) - loadedBytes;
      return {
        phase,
        loadedBytes,
        totalBytes,
        bytesPerSecond,
        etaMs: isKnown ? Math.ceil((leftBytes / bytesPerSecond) * 1000) : null,
        startedMs,
      };
    },
  };
}

/** One line for people, such as `loading 34% eta 12s`; says only what is known. */
export function progressText(progress: LoadProgress): string {
  const { phase, loadedBytes, totalBytes, etaMs } = progress;
  switch (phase) {
    case 'describing':
      return 'loading';
    case 'preparing':
      return 'loading 100%, preparing';
    case 'ready':
      return 'loaded';
    default: {
      if (totalBytes === null) return `loading, ${Math.floor(loadedBytes / 1e6)} MB so far`;
      // Rounded down: 100% means that all is there.
      const percent = Math.floor((loadedBytes / totalBytes) * 100);
      const eta = etaMs === null ? '' : ` eta ${Math.ceil(etaMs / 1000)}s`;
      return `loading ${percent}%${eta}`;
    }
  }
}
