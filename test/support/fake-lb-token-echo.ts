import {
  answerOf,
  type FakeBalancer,
  type FakeVisit,
  type FakeWorker,
  leastBusy,
  noWorkers,
} from './fake-workers.ts';

export interface FakeTokenEchoBalancer extends FakeBalancer {
  /** Scaled down, and not terminated: `strict-resume` brings it back, as another process. */
  readonly sleeping: FakeWorker[];
  /** What the health check of a worker said: 204 while it starts, 200 when it can be used. */
  ping(worker: FakeWorker): number;
  /** Workers that still start. */
  readonly starting: Set<FakeWorker>;
}

const HEADER = 'x-runpod-worker-id';

/**
 * RunPod's load balancer as its documentation has it: every answer names its worker; a bare id is a
 * wish, `strict` insists and waits for a worker that is full until it gives up with 400, and 404 says
 * that the worker is gone.
 * @param maxConcurrency requests of a worker at once
 */
export function createFakeTokenEcho(
  workers: FakeWorker[],
  maxConcurrency: number,
  wake: (worker: FakeWorker) => void,
): FakeTokenEchoBalancer {
  const visits: FakeVisit[] = [];
  const sleeping: FakeWorker[] = [];
  const starting = new Set<FakeWorker>();
  const canTake = (worker: FakeWorker): boolean =>
    worker.isUp && !starting.has(worker) && worker.running < maxConcurrency;

  function choose(wish: string): FakeWorker | number {
    const [, mode, id] = /^(?:(strict|strict-resume) )?(\S*)$/.exec(wish) ?? [];
    const wanted = workers.find((worker) => worker.id === id && worker.isUp);
    if (mode === undefined) {
      if (wanted !== undefined && canTake(wanted)) return wanted;
      return leastBusy(workers.filter(canTake)) ?? 503;
    }
    if (wanted !== undefined) return canTake(wanted) ? wanted : 400;
    const at = sleeping.findIndex((worker) => worker.id === id);
    if (mode !== 'strict-resume' || at < 0) return 404;
    const [resumed] = sleeping.splice(at, 1);
    if (resumed === undefined) return 404;
    wake(resumed);
    workers.push(resumed);
    return resumed;
  }

  return {
    workers,
    visits,
    sleeping,
    starting,
    ping: (worker) => (starting.has(worker) ? 204 : 200),
    fetch(_url, sent) {
      const headers = new Headers(sent);
      const chosen = choose(headers.get(HEADER) ?? '');
      visits.push({ headers, worker: typeof chosen === 'number' ? null : chosen.id });
      if (chosen === 503) return noWorkers();
      if (typeof chosen === 'number') {
        const reason = chosen === 404 ? 'affinity_worker_gone' : 'worker_timeout';
        return new Response(JSON.stringify({ error: reason }), { status: chosen });
      }
      return answerOf(chosen, { [HEADER]: chosen.id });
    },
  };
}
