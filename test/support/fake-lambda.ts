import { Agent, type ClientRequest, type IncomingMessage, request as httpRequest } from 'node:http';
import type { Writable } from 'node:stream';
import type { LambdaEvent, LambdaEventV2 } from '../../adapters/lambda/event.ts';
import type { LambdaHandler } from '../../adapters/lambda/handler.ts';
import { startLoopbackServer } from './loopback-server.ts';

/** Lambda, as far as a function sees it: the runtime in its process, and the service behind a function URL. */
export interface FakeLambda {
  /** One invocation, as the service would begin it. */
  readonly invoke: (event: LambdaEvent) => Promise<Response>;
  /** What a client of the function URL gets. */
  readonly send: (path: string, init?: RequestInit) => Promise<Response>;
  /** Breaks the connections between the function and the service. */
  readonly breakConnections: () => void;
  readonly close: () => Promise<void>;
}

const HEAD_TYPE = 'application/vnd.awslambda.http-integration-response';
const ERROR_TRAILER = 'lambda-runtime-function-error-type';
const STREAMED = Symbol('streamed');

type Streamed = LambdaHandler & { [STREAMED]?: true };
type OpenStream = Writable & {
  setContentType(type: string): void;
  beforeFirstWrite?: (write: (piece: string | Uint8Array) => void) => void;
};

/**
 * As in aws-lambda-nodejs-runtime-interface-client 4: the response stream is a chunked request to the
 * runtime's API; the head goes before the first write, then eight zeros; a failure becomes a trailer.
 * @param load makes the handler once the global `awslambda` is there
 */
export async function startFakeLambda(
  load: () => LambdaHandler | Promise<LambdaHandler>,
): Promise<FakeLambda> {
  const scope = globalThis as { awslambda?: unknown };
  const before = scope.awslambda;
  scope.awslambda = {
    streamifyResponse: (inner: Streamed) => Object.assign(inner, { [STREAMED]: true }),
    HttpResponseStream: {
      from(stream: OpenStream, head: unknown): OpenStream {
        stream.setContentType(HEAD_TYPE);
        stream.beforeFirstWrite = (write) => {
          write(JSON.stringify(head));
          write(new Uint8Array(8));
        };
        return stream;
      },
    },
  };
  const handler: Streamed = await load();
  if (handler[STREAMED] !== true) throw new TypeError('the handler is not streamified');

  const answers = new Map<string, (answer: IncomingMessage) => void>();
  const agent = new Agent();
  const running = new Set<ClientRequest>();
  const service = await startLoopbackServer((posted, response) => {
    answers.get(posted.url ?? '')?.(posted);
    posted.on('close', () => response.writeHead(202).end());
  });
  let invocations = 0;

  async function invoke(event: LambdaEvent): Promise<Response> {
    const path = `/2018-06-01/runtime/invocation/${++invocations}/response`;
    const posted = new Promise<IncomingMessage>((resolve) => answers.set(path, resolve));
    const headers = { 'transfer-encoding': 'chunked', trailer: ERROR_TRAILER };
    const output = httpRequest({ port: service.port, method: 'POST', path, agent, headers });
    running.add(output);
    output.on('error', () => undefined);
    const closed = new Promise<never>((_, reject) => {
      output.on('close', () => {
        running.delete(output);
        reject(new TypeError('the connection broke before an answer'));
      });
    });
    closed.catch(() => undefined); // an answer may have come before
    output.on('response', (response) => response.resume());
    handler(event, responseStream(output), {}).catch((error: unknown) => {
      const { name } = error instanceof Error ? error : { name: 'Error' };
      output.addTrailers({ [ERROR_TRAILER]: name });
      output.end();
    });
    try {
      return await readAnswer(await Promise.race([posted, closed]));
    } finally {
      answers.delete(path);
    }
  }

  return {
    invoke,
    send: async (path, init) => invoke(await eventOf(path, init)),
    breakConnections: () => {
      for (const request of running) request.destroy();
    },
    close: async () => {
      scope.awslambda = before;
      agent.destroy();
      await service.close();
    },
  };
}

/** The facade that the handler gets: writes in order, the head before the first. */
function responseStream(output: ClientRequest): Writable {
  let hasWritten = false;
  const stream: Partial<OpenStream> = {
    setContentType: (type) => void output.setHeader('content-type', type),
    once: output.once.bind(output) as unknown as OpenStream['once'],
    on: output.on.bind(output) as unknown as OpenStream['on'],
    off: output.off.bind(output) as unknown as OpenStream['off'],
    removeListener: output.off.bind(output) as unknown as OpenStream['removeListener'],
    end: output.end.bind(output) as unknown as OpenStream['end'],
    write: (piece: string | Uint8Array) => {
      if (!hasWritten) stream.beforeFirstWrite?.((first) => void output.write(first));
      hasWritten = true;
      return output.write(piece);
    },
  };
  return stream as OpenStream;
}

/** What the service makes of the function's answer. */
async function readAnswer(answer: IncomingMessage): Promise<Response> {
  const pieces = answer.iterator({ destroyOnReturn: false });
  let bytes = Buffer.alloc(0);
  let end = -1;
  while (end < 0) {
    const { done, value } = (await pieces.next()) as IteratorResult<Buffer>;
    if (done === true) return new Response('Internal Server Error', { status: 502 });
    bytes = Buffer.concat([bytes, value]);
    end = bytes.indexOf(Buffer.alloc(8));
  }
  if (answer.headers['content-type'] !== HEAD_TYPE) throw new TypeError('the head has no type');
  const { statusCode, headers, cookies } = JSON.parse(bytes.toString('utf8', 0, end)) as {
    readonly statusCode: number;
    readonly headers: Readonly<Record<string, string>>;
    readonly cookies: readonly string[];
  };
  let rest: Uint8Array = bytes.subarray(end + 8);
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (rest.length === 0) {
          const { done, value } = (await pieces.next()) as IteratorResult<Buffer>;
          if (done === true) {
            if (answer.trailers[ERROR_TRAILER] === undefined) controller.close();
            else controller.error(new TypeError('the function failed'));
            return;
          }
          rest = value;
        }
        controller.enqueue(Uint8Array.from(rest));
        rest = new Uint8Array();
      },
      // The function is not told: it goes on, for nobody.
      cancel: () => void drain(pieces),
    },
    { highWaterMark: 0 },
  );
  const all = new Headers(headers);
  for (const cookie of cookies) all.append('set-cookie', cookie);
  const isEmpty = [204, 304].includes(statusCode);
  return new Response(isEmpty ? null : body, { status: statusCode, headers: all });
}

async function drain(pieces: AsyncIterator<unknown>): Promise<void> {
  let piece = await pieces.next();
  while (piece.done !== true) piece = await pieces.next();
}

/** Text goes as text, all else in base64; cookies lie apart. */
async function eventOf(path: string, init: RequestInit = {}): Promise<LambdaEventV2> {
  const request = new Request(`https://fn.example${path}`, init);
  const url = new URL(request.url);
  const bytes = Buffer.from(await request.arrayBuffer());
  const isText = /json|^text\//.test(request.headers.get('content-type') ?? '');
  const headers = Object.fromEntries(request.headers);
  const cookies = headers['cookie']?.split('; ');
  delete headers['cookie'];
  return {
    rawPath: url.pathname,
    rawQueryString: url.search.slice(1),
    headers,
    ...(cookies === undefined ? {} : { cookies }),
    requestContext: {
      domainName: url.hostname,
      stage: '$default',
      http: { method: request.method },
    },
    ...(bytes.length === 0 ? {} : { body: bytes.toString(isText ? 'utf8' : 'base64') }),
    isBase64Encoded: bytes.length > 0 && !isText,
  };
}
