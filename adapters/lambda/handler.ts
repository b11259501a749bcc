import { once } from 'node:events';
import type { Writable } from 'node:stream';
import type { ClientInfo } from '../../src/http/app-env.ts';
import { clientOf, type LambdaEvent, requestOf } from './event.ts';

/** What Lambda's Node.js runtime puts into the global scope. */
declare const awslambda: {
  streamifyResponse(handler: LambdaHandler): LambdaHandler;
  readonly HttpResponseStream: { from(stream: Writable, prelude: ResponseHead): Writable };
};

export type LambdaHandler = (
  event: LambdaEvent,
  responseStream: Writable,
  context: unknown,
) => Promise<void>;

/** Travels before the body. */
interface ResponseHead {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly cookies: readonly string[];
}

/** Anything with a fetch handler, such as what createApp returns. */
export interface LambdaApp {
  fetch(request: Request, client?: ClientInfo): Response | Promise<Response>;
}

/**
 * The handler of a Lambda function that streams its answers: behind a function URL with the invoke
 * mode RESPONSE_STREAM, or a REST API with the response transfer mode STREAM. Lambda does not tell
 * when a client leaves; what breaks the way to Lambda itself aborts the request. An instance is frozen
 * between requests, so `Prefer: respond-async` is not passed on and such answers come at once.
 * @example
 * export const handler = createLambdaHandler(createApp({ completer }));
 */
export function createLambdaHandler(app: LambdaApp): LambdaHandler {
  return awslambda.streamifyResponse(async function handleEvent(event, responseStream) {
    const abort = new AbortController();
    const onClose = (): void => {
      abort.abort(new DOMException('the way to the client closed', 'AbortError'));
    };
    responseStream.once('close', onClose);
    // Nobody else listens while the app works, and an error without a listener ends the process.
    responseStream.on('error', onClose);
    try {
      const request = requestOf(event, abort.signal);
      request.headers.delete('prefer');
      const response = await app.fetch(request, clientOf(event));
      await send(response, responseStream, abort.signal);
    } finally {
      responseStream.off('close', onClose);
    }
  });
}

/** A body that fails rejects with the stream left open: Lambda then marks the answer as broken. */
async function send(response: Response, stream: Writable, signal: AbortSignal): Promise<void> {
  const output = awslambda.HttpResponseStream.from(stream, headOf(response));
  // The first write sends the head, which an answer without a body has too.
  output.write('');
  const reader = response.body?.getReader();
  const onAbort = (): void => {
    reader?.cancel(signal.reason).catch(() => undefined);
  };
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    if (signal.aborted) onAbort();
    for (;;) {
      const piece = await reader?.read();
      signal.throwIfAborted();
      if (piece?.value === undefined) break;
      if (!output.write(piece.value)) await once(output, 'drain', { signal });
    }
    output.end();
  } finally {
    signal.removeEventListener('abort', onAbort);
    await reader?.cancel().catch(() => undefined);
  }
}

function headOf({ status, headers }: Response): ResponseHead {
  const plain = Array.from(headers).filter(([name]) => name !== 'set-cookie');
  return {
    statusCode: status,
    headers: Object.fromEntries(plain),
    cookies: headers.getSetCookie(),
  };
}
