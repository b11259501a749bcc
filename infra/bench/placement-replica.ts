import type { EventLine } from './event-line.ts';

export interface ReplicaShape {
  /** Answers at once; more wait. */
  readonly slots: number;
  /** Tokens of conversations whose keys and values it keeps; the ones unused longest go first. */
  readonly cacheTokens: number;
  readonly prefillTokensPerSecond: number;
  /** Of each answer; a batch is taken to be as fast as one. */
  readonly decodeTokensPerSecond: number;
}

export interface ReplicaJob {
  readonly session: string;
  /** Tokens before this turn, which a cache may have. */
  readonly historyTokens: number;
  readonly promptTokens: number;
  readonly answerTokens: number;
  /** It got its slot. */
  onStart(hitTokens: number, waitMs: number, prefillMs: number): void;
  onEnd(isWhole: boolean): void;
}

export interface SimulatedReplica {
  readonly url: string;
  /** Changes with each crash. */
  process(): string;
  isUp(): boolean;
  /** Running and waiting. */
  load(): number;
  take(job: ReplicaJob): void;
  /** All its jobs fail, and its cache is lost. */
  crash(): void;
  restart(): void;
}

export function createSimulatedReplica(
  url: string,
  shape: ReplicaShape,
  line: EventLine,
): SimulatedReplica {
  let boot = 0;
  let isUp = true;
  const running = new Set<ReplicaJob>();
  let waiting: { readonly job: ReplicaJob; readonly sinceMs: number }[] = [];
  /** In order of use. */
  const cache = new Map<string, number>();
  let cachedTokens = 0;

  function keep(session: string, tokens: number): void {
    cachedTokens += tokens - (cache.get(session) ?? 0);
    cache.delete(session);
    cache.set(session, tokens);
    for (const [oldest, size] of cache) {
      if (cachedTokens <= shape.cacheTokens || oldest === session) break;
      cache.delete(oldest);
      cachedTokens -= size;
    }
  }

  function start(job: ReplicaJob, sinceMs: number): void {
    running.add(job);
    const hitTokens = Math.min(cache.get(job.session) ?? 0, job.historyTokens);
    const prefillMs = ((job.promptTokens - hitTokens) / shape.prefillTokensPerSecond) * 1000;
    const decodeMs = (job.answerTokens / shape.decodeTokensPerSecond) * 1000;
    keep(job.session, job.promptTokens + job.answerTokens);
    job.onStart(hitTokens, line.now() - sinceMs, prefillMs);
    line.at(line.now() + prefillMs + decodeMs, () => {
      if (!running.delete(job)) return;
      job.onEnd(true);
      const next = waiting.shift();
      if (next !== undefined) start(next.job, next.sinceMs);
    });
  }

  return {
    url,
    process: () => `${url.replaceAll(/\W+/g, '-')}-${boot}`,
    isUp: () => isUp,
    load: () => running.size + waiting.length,
    take(job) {
      if (running.size < shape.slots) start(job, line.now());
      else waiting.push({ job, sinceMs: line.now() });
    },
    crash() {
      isUp = false;
      boot++;
      const lost = [...running, ...waiting.map(({ job }) => job)];
      running.clear();
      waiting = [];
      cache.clear();
      cachedTokens = 0;
      for (const job of lost) job.onEnd(false);
    },
    restart() {
      isUp = true;
    },
  };
}
