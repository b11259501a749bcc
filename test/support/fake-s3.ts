import { createServer } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { answerS3, fakeObject, xmlError } from './fake-s3-answer.ts';
import type { FakeAnswer, FakeObject } from './fake-s3-answer.ts';
import { sendAnswer } from './fake-s3-fault.ts';
import type { Fault } from './fake-s3-fault.ts';
import { checkSignature } from './fake-s3-signature.ts';
import type { FakeKeys } from './fake-s3-signature.ts';
import { createPacer } from './pacer.ts';

export interface FakeS3Options {
  /** Of all connections together; default: no limit. */
  readonly bytesPerSecond?: number;
  /** From a request to its answer, in milliseconds; default 0. */
  readonly latencyMs?: number;
  /** Objects on one page of a list; default 1,000. */
  readonly pageSize?: number;
  readonly keys?: FakeKeys;
  readonly region?: string;
}

/** A request that came, in order. */
export interface SeenRequest {
  readonly method: string;
  readonly key: string;
  readonly headers: IncomingHttpHeaders;
  /** Resolves when the answer has ended or its connection is gone. */
  readonly ended: Promise<void>;
}

export interface FakeS3 {
  /** `http://127.0.0.1:port` */
  readonly endpoint: string;
  /** The only bucket: `models`. */
  readonly bucket: string;
  readonly keys: FakeKeys;
  readonly region: string;
  /** By key, within the bucket. */
  readonly objects: Map<string, FakeObject>;
  readonly requests: SeenRequest[];
  put(key: string, bytes: Uint8Array): void;
  /** Spoils the next `times` answers to `method`, after those that were scripted before. */
  script(method: string, fault: Fault, times?: number): void;
  /** Forgets what was scripted and has not happened. */
  clearScript(): void;
  /** Called when a request has come, before it is answered. */
  onRequest: (request: SeenRequest) => void;
  /** Connections that are open now. */
  connections(): number;
  close(): Promise<void>;
}

export const FAKE_KEYS: FakeKeys = {
  accessKeyId: 'AKIDFAKEFAKEFAKE',
  secretAccessKey: 'fake+secret/that/must/never/be/shown',
};

const BUCKET = 'models';

/**
 * An S3 server on loopback with one bucket: signatures are checked, requests are answered as S3
 * does, path style, and scripted faults spoil them.
 */
export async function startFakeS3(options: FakeS3Options = {}): Promise<FakeS3> {
  const { pageSize = 1000, keys = FAKE_KEYS, region = 'eu-test-1', latencyMs = 0 } = options;
  const pacer = createPacer(options.bytesPerSecond ?? Infinity);
  const objects = new Map<string, FakeObject>();
  const sockets = new Set<Socket>();
  const scripted: { readonly method: string; readonly fault: Fault }[] = [];

  const answer = async (
    request: IncomingMessage,
    { bucket, key, query }: Target,
    body: Uint8Array,
  ): Promise<FakeAnswer> => {
    const refusal = await checkSignature(request, body, keys, region, Date.now());
    if (refusal !== null) {
      const isRegion = refusal.code === 'AuthorizationHeaderMalformed';
      return xmlError(refusal, isRegion ? { 'x-amz-bucket-region': region } : {});
    }
    if (bucket !== BUCKET) {
      return xmlError({ status: 404, code: 'NoSuchBucket', message: 'There is no such bucket' });
    }
    const { method = 'GET', headers } = request;
    return answerS3(objects, { method, key, query, headers }, body, pageSize);
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { method = 'GET', headers } = request;
    const target = targetOf(request);
    const ended = new Promise<void>((resolve) => {
      response.once('close', resolve);
    });
    const seen = { method, key: target.key, headers, ended };
    self.requests.push(seen);
    self.onRequest(seen);
    const at = scripted.findIndex((entry) => entry.method === method);
    const [entry] = at < 0 ? [] : scripted.splice(at, 1);
    const body = await bodyOf(request);
    const plain = await answer(request, target, body);
    if (latencyMs > 0) await new Promise((resolve) => setTimeout(resolve, latencyMs));
    await sendAnswer(response, plain, entry?.fault, method === 'HEAD', pacer);
  };

  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy());
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const self: FakeS3 = {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bucket: BUCKET,
    keys,
    region,
    objects,
    requests: [],
    put(key, bytes) {
      objects.set(key, fakeObject(bytes));
    },
    script(method, fault, times = 1) {
      for (let i = 0; i < times; i++) scripted.push({ method, fault });
    },
    clearScript() {
      scripted.length = 0;
    },
    onRequest: () => undefined,
    connections: () => sockets.size,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return self;
}

interface Target {
  readonly bucket: string;
  readonly key: string;
  readonly query: URLSearchParams;
}

/** Path style: `/bucket/key`. */
function targetOf({ url = '/' }: IncomingMessage): Target {
  const { pathname, searchParams } = new URL(url, 'http://host');
  const [bucket = '', ...key] = pathname.slice(1).split('/').map(decodeURIComponent);
  return { bucket, key: key.join('/'), query: searchParams };
}

async function bodyOf(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
