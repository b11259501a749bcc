import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { ClientRequest, OutgoingHttpHeaders } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

export interface ReplicaFetchOptions {
  /** Milliseconds to resolve the name and connect, TLS included; default 2 s. An answer may take forever. */
  readonly connectMs?: number;
}

const CONNECT_MS = 2_000;
/** Idle connections are closed before load balancers do it, as in the runtime's own `fetch`. */
const IDLE_MS = 4_000;
const BODILESS: ReadonlySet<number> = new Set([204, 205, 304]);

/**
 * What `fetch` is to a gateway, with a bound on connecting, which the runtime's own (10 s) can be told only
 * by another package: a stopped machine swallows packets, and another replica may be up. Follows no
 * redirects and decodes no compression, as it asks for none.
 * @returns takes `method`, `headers`, `signal` and a body of bytes, text or a Blob
 */
export function createReplicaFetch(
  options: ReplicaFetchOptions = {},
): (url: string, init: RequestInit) => Promise<Response> {
  const { connectMs = CONNECT_MS } = options;
  const http = new HttpAgent({ keepAlive: true, timeout: IDLE_MS });
  const https = new HttpsAgent({ keepAlive: true, timeout: IDLE_MS });

  return async (url, init) => {
    const signal = init.signal ?? undefined;
    signal?.throwIfAborted();
    const isHttps = url.startsWith('https:');
    const body = await bodyOf(init.body);
    const head = {
      method: init.method ?? 'GET',
      headers: headersOf(init.headers, body),
      ...(signal === undefined ? {} : { signal }),
    };
    const request = isHttps
      ? httpsRequest(url, { ...head, agent: https })
      : httpRequest(url, { ...head, agent: http });
    boundConnecting(request, isHttps ? 'secureConnect' : 'connect', connectMs);
    try {
      return responseOf(await exchange(request, body));
    } catch (error) {
      signal?.throwIfAborted();
      throw new TypeError('fetch failed', { cause: error });
    }
  };
}

function exchange(request: ClientRequest, body: Uint8Array | Blob): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.on('response', resolve);
    // Also after the answer came: without a listener it would end the process.
    request.on('error', reject);
    if (!(body instanceof Blob)) request.end(body);
    else pipeline(Readable.fromWeb(body.stream()), request).catch(reject);
  });
}

/** A connection that is used again is up already. */
function boundConnecting(request: ClientRequest, event: string, connectMs: number): void {
  const timer = setTimeout(() => {
    request.destroy(new Error(`there was no connection after ${connectMs / 1000} s`));
  }, connectMs);
  const connected = (): void => clearTimeout(timer);
  request.once('close', connected);
  request.once('socket', (socket) => {
    if (request.reusedSocket) connected();
    else socket.once(event, connected);
  });
}

async function bodyOf(body: RequestInit['body']): Promise<Uint8Array | Blob> {
  if (body instanceof Uint8Array || body instanceof Blob) return body;
  return new Uint8Array(await new Response(body ?? null).arrayBuffer());
}

function headersOf(init: RequestInit['headers'], body: Uint8Array | Blob): OutgoingHttpHeaders {
  const sizeBytes = body instanceof Blob ? body.size : body.byteLength;
  const length = sizeBytes === 0 ? {} : { 'content-length': sizeBytes };
  return { ...Object.fromEntries(new Headers(init)), ...length };
}

function responseOf(incoming: IncomingMessage): Response {
  const { statusCode: status = 0, statusMessage: statusText = '', rawHeaders } = incoming;
  const headers = new Headers();
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    headers.append(rawHeaders[at] ?? '', rawHeaders[at + 1] ?? '');
  }
  if (!BODILESS.has(status)) return new Response(pulled(incoming), { status, statusText, headers });
  incoming.resume();
  return new Response(null, { status, statusText, headers });
}

/** Read as it is asked for; leaving it closes the connection. */
function pulled(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  const pieces: AsyncIterator<Uint8Array> = incoming[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await pieces.next();
        if (done === true) controller.close();
        else controller.enqueue(value);
      },
      cancel() {
        incoming.destroy();
      },
    },
    { highWaterMark: 0 },
  );
}
