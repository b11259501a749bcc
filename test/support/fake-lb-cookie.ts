import {
  answerOf,
  type FakeBalancer,
  type FakeVisit,
  type FakeWorker,
  leastBusy,
  noWorkers,
} from './fake-workers.ts';

/**
 * Cloud Run's session affinity: an opaque cookie to an instance, by best effort. It is broken when the
 * instance stops or has its most requests, and then the answer sets another one. A second cookie comes
 * and goes beside it, as balancers in front of balancers do.
 */
export function createFakeCookieBalancer(
  workers: FakeWorker[],
  maxConcurrency: number,
): FakeBalancer {
  const visits: FakeVisit[] = [];
  const canTake = (worker: FakeWorker): boolean => worker.isUp && worker.running < maxConcurrency;

  return {
    workers,
    visits,
    fetch(_url, sent) {
      const headers = new Headers(sent);
      const cookies = new Map(
        (headers.get('cookie') ?? '').split('; ').map((pair) => {
          const at = pair.indexOf('=');
          return [pair.slice(0, at), pair.slice(at + 1)] as const;
        }),
      );
      const wanted = workers.find(({ id }) => opaque(id) === cookies.get('GAESA'));
      const isKept = wanted !== undefined && canTake(wanted);
      const worker = isKept ? wanted : leastBusy(workers.filter(canTake));
      visits.push({ headers, worker: worker?.id ?? null });
      if (worker === undefined) return noWorkers();
      const answer = answerOf(worker);
      if (!isKept) {
        const attributes = 'Path=/; Max-Age=2592000; HttpOnly; Secure; SameSite=None';
        answer.headers.append('set-cookie', `GAESA=${opaque(worker.id)}; ${attributes}`);
        answer.headers.append('set-cookie', `front=${visits.length}; Path=/`);
      } else if (cookies.has('front')) {
        answer.headers.append('set-cookie', 'front=; Expires=Thu, 01 Jan 1970 00:00:00 GMT');
      }
      return answer;
    },
  };
}

function opaque(id: string): string {
  return Buffer.from(`v1:${id}`).toString('base64');
}
