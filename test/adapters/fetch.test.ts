import { expect, it } from 'vitest';
import { createFetchHandlers, type FetchHandlers } from '../../adapters/fetch/handlers.ts';
import { describeHttp } from '../contracts/http.ts';
import { type HttpTarget, loadFromMetrics } from '../contracts/http-target.ts';
import { createContractApp } from '../support/contract-app.ts';

type Method = Exclude<keyof FetchHandlers, 'fetch'>;

describeHttp('fetch handlers, by the name of the method', async () => {
  const handlers = createFetchHandlers(createContractApp());
  const send: HttpTarget['send'] = async (path, init) => {
    const request = new Request(`https://fn.example${path}`, init);
    return handlers[request.method as Method](request);
  };
  return {
    send,
    load: () => loadFromMetrics(send),
    tellsGoneClients: true,
    holdsBack: true,
    keepsJobs: false,
    close: async () => undefined,
  };
});

it('passes on the body and the signal of a request that prefers a job', async () => {
  const seen: Request[] = [];
  const { fetch } = createFetchHandlers({
    fetch(request) {
      seen.push(request);
      return new Response(request.body);
    },
  });
  const abort = new AbortController();
  const init = { method: 'POST', headers: { prefer: 'respond-async' }, body: 'grüß' };
  const response = await fetch(
    new Request('https://fn.example/', { ...init, signal: abort.signal }),
  );
  expect(await response.text()).toBe('grüß');
  abort.abort();
  expect([seen[0]?.headers.has('prefer'), seen[0]?.signal.aborted]).toEqual([false, true]);
});
