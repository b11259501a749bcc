/** A replica behind a fake load balancer: answers with the name of its process. */
export interface FakeWorker {
  readonly id: string;
  /** Drawn when its process began. */
  boot: string;
  isUp: boolean;
  /** Requests it holds now; a test may set it. */
  running: number;
}

/** What a fake load balancer was sent, and whom it asked. */
export interface FakeVisit {
  readonly headers: Headers;
  readonly worker: string | null;
}

/** A load balancer with workers that come and go. Its answers have what the platform's have. */
export interface FakeBalancer {
  readonly workers: FakeWorker[];
  readonly visits: FakeVisit[];
  fetch(url: string, headers: Readonly<Record<string, string>>): Response;
}

let boots = 0;

export function createFakeWorkers(count: number): FakeWorker[] {
  return Array.from({ length: count }, (_, at) => createFakeWorker(`worker-${at}`));
}

export function createFakeWorker(id: string): FakeWorker {
  return { id, boot: `boot-${++boots}`, isUp: true, running: 0 };
}

/** Its process ends and another one takes its place. */
export function restart(worker: FakeWorker): void {
  worker.boot = `boot-${++boots}`;
}

export function answerOf(worker: FakeWorker, headers: Record<string, string> = {}): Response {
  return new Response('answer', { headers: { 'x-gemlet-replica': worker.boot, ...headers } });
}

/** What a platform says when it has nobody. */
export function noWorkers(): Response {
  return new Response('no worker available', { status: 503 });
}

/** The worker with the fewest requests that is up. */
export function leastBusy(workers: readonly FakeWorker[]): FakeWorker | undefined {
  return workers.filter(({ isUp }) => isUp).toSorted((a, b) => a.running - b.running)[0];
}
