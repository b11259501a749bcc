import { ServeError } from '../../src/errors.ts';
import { errorResponse } from '../../src/http/error-response.ts';
import { errorLevel } from '../../src/log/request-record.ts';
import { createRequestLog } from '../../src/log/request-log.ts';
import { toServeError } from '../../src/openai/error-body.ts';
import type { ExecutionContextLike, MessageBatchLike, WorkerEnv } from './bindings.ts';
import { callerName } from './caller.ts';
import { captionAll } from './caption-queue.ts';
import { createIsolate, type Isolate } from './isolate.ts';

export { SessionObject } from './session-object.ts';

/** Made by an isolate's first event, for an isolate must start within milliseconds. */
let isolate: Isolate | undefined;

/** The Worker: the whole HTTP API over a fleet of replicas, and captions for pictures in a queue. */
export default {
  async fetch(request: Request, env: WorkerEnv, context: ExecutionContextLike): Promise<Response> {
    try {
      isolate ??= createIsolate(env);
      await refuseFrequent(request, env, isolate);
      const gateway = isolate.open(new URL(request.url).hostname);
      const answering = gateway.fetch(withoutPrefer(request));
      // A client that leaves takes the event with it, and sessions and replicas could not be freed.
      context.waitUntil(
        answering.then(
          () => gateway.settled(),
          () => undefined,
        ),
      );
      return await answering;
    } catch (error) {
      // Without settings there is no log of theirs.
      const log = isolate?.log ?? createRequestLog({ write: (line) => console.log(line) });
      const level = errorLevel(error);
      log({ type: 'failure', what: 'a request did not reach the app', error, level });
      return errorResponse(toServeError(error));
    }
  },

  async queue(batch: MessageBatchLike, env: WorkerEnv): Promise<void> {
    isolate ??= createIsolate(env);
    const { log } = isolate;
    const gateway = isolate.open();
    await captionAll(batch.messages, {
      completer: gateway.completer,
      bucket: env.MODELS,
      report: ({ id, attempts }, error) =>
        log({ type: 'failure', what: `message ${id}, delivery ${attempts}`, error }),
      ...isolate.settings,
    });
    await gateway.settled();
  },
};

/** @throws ServeError rate_limit_exceeded */
async function refuseFrequent(
  { headers }: Request,
  { LIMITER: limiter }: WorkerEnv,
  { settings }: Isolate,
): Promise<void> {
  if (limiter === undefined) return;
  const { success } = await limiter.limit({ key: await callerName(headers, settings.apiKeys) });
  if (success) return;
  throw new ServeError(
    'rate_limit_exceeded',
    'Too many requests with your API key, or without a right one from your address. Retry later.',
    { retryAfterMs: 10_000 },
  );
}

/** An isolate may go once an answer is sent, so answers come at once instead of as jobs. */
function withoutPrefer(request: Request): Request {
  if (!request.headers.has('prefer')) return request;
  const headers = new Headers(request.headers);
  headers.delete('prefer');
  return new Request(request, { headers, signal: request.signal });
}
