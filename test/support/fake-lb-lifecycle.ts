import type { Clock } from '../../src/lib/clock.ts';
import {
  answerOf,
  type FakeBalancer,
  type FakeVisit,
  type FakeWorker,
  leastBusy,
} from './fake-workers.ts';

export interface FakeLifecycleBalancer extends FakeBalancer {
  /** Opens a session; its token is good for one worker, until it was idle too long. */
  open(): Promise<string>;
  /** Sessions that were opened. */
  readonly opened: readonly string[];
}

/**
 * Modal's `sessioned` servers: every request must bear the token of an open session, which is one
 * container's; sessions end after `idleMs` without a request, and with their container.
 */
export function createFakeLifecycle(
  workers: FakeWorker[],
  idleMs: number,
  clock: Pick<Clock, 'now'>,
): FakeLifecycleBalancer {
  const visits: FakeVisit[] = [];
  const sessions = new Map<string, { readonly worker: FakeWorker; usedMs: number }>();
  const opened: string[] = [];

  return {
    workers,
    visits,
    opened,
    async open() {
      const worker = leastBusy(workers);
      if (worker === undefined) throw new Error('no container');
      const token = `token-${opened.length + 1}`;
      // So that sessions are spread as on a real one.
      worker.running++;
      sessions.set(token, { worker, usedMs: clock.now() });
      opened.push(token);
      return token;
    },
    fetch(_url, sent) {
      const headers = new Headers(sent);
      const token = /^Bearer (\S+)$/.exec(headers.get('modal-authorization') ?? '')?.[1] ?? '';
      const session = sessions.get(token);
      const isOpen =
        session !== undefined && session.worker.isUp && clock.now() - session.usedMs < idleMs;
      visits.push({ headers, worker: isOpen ? session.worker.id : null });
      if (!isOpen) return new Response('invalid session token', { status: 401 });
      session.usedMs = clock.now();
      return answerOf(session.worker);
    },
  };
}
