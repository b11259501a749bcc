import { answerOf, type FakeBalancer, type FakeVisit, type FakeWorker } from './fake-workers.ts';

/** No balancer at all: each worker has its URL, and one that is down refuses connections. */
export function createFakeReplicas(workers: FakeWorker[]): FakeBalancer {
  const visits: FakeVisit[] = [];
  return {
    workers,
    visits,
    fetch(url, sent) {
      const headers = new Headers(sent);
      const worker = workers.find((one) => urlOf(one) === url && one.isUp);
      visits.push({ headers, worker: worker?.id ?? null });
      if (worker === undefined) throw new TypeError('fetch failed');
      return answerOf(worker);
    },
  };
}

export function urlOf({ id }: FakeWorker): string {
  return `http://${id}.test/base`;
}
