import { createHash } from 'node:crypto';
import {
  answerOf,
  type FakeBalancer,
  type FakeVisit,
  type FakeWorker,
  leastBusy,
  noWorkers,
} from './fake-workers.ts';

/**
 * Modal's and Baseten's proxies: rendezvous hashing of a header over the containers that are up, with a
 * hash of their own. Requests without it, or without the proxy's key where one is wanted, are sent to
 * whoever has least to do, or refused with 401.
 */
export function createFakeHashedHeader(
  workers: FakeWorker[],
  header: string,
  proxyKey: string | null = null,
): FakeBalancer {
  const visits: FakeVisit[] = [];

  function choose(session: string | null): FakeWorker | undefined {
    if (session === null) return leastBusy(workers);
    return workers
      .filter(({ isUp }) => isUp)
      .toSorted((a, b) => (score(session, a) < score(session, b) ? 1 : -1))[0];
  }

  return {
    workers,
    visits,
    fetch(_url, sent) {
      const headers = new Headers(sent);
      if (proxyKey !== null && headers.get('modal-key') !== proxyKey) {
        return new Response('modal-http: invalid proxy auth', { status: 401 });
      }
      const worker = choose(headers.get(header));
      visits.push({ headers, worker: worker?.id ?? null });
      return worker === undefined ? noWorkers() : answerOf(worker);
    },
  };
}

function score(session: string, { id }: FakeWorker): string {
  return createHash('sha256').update(`${session}/${id}`).digest('hex');
}
