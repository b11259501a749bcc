import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Handles a request itself and returns true, or leaves it to the server. */
export type Intercept = (request: IncomingMessage, response: ServerResponse) => boolean;

export interface ObjectServer {
  /** `http://127.0.0.1:port` */
  readonly origin: string;
  /** By decoded path, such as `/model/config.json`. */
  readonly objects: Map<string, Uint8Array>;
  /** Every request so far. */
  readonly requests: IncomingMessage[];
  intercept: Intercept;
  close(): Promise<void>;
}

/** A small loopback file server with HEAD, ranges, strong etags and If-Match. */
export async function startObjectServer(): Promise<ObjectServer> {
  const objects = new Map<string, Uint8Array>();
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    if (!self.intercept(request, response)) serveObject(objects, request, response);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  const self: ObjectServer = {
    origin: `http://127.0.0.1:${port}`,
    objects,
    requests,
    intercept: () => false,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return self;
}

function etagOf(bytes: Uint8Array): string {
  return `"${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}"`;
}

export function pathOf(request: IncomingMessage): string {
  return decodeURIComponent(new URL(request.url ?? '/', 'http://host').pathname);
}

function serveObject(
  objects: ReadonlyMap<string, Uint8Array>,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const bytes = objects.get(pathOf(request));
  if (bytes === undefined) {
    response.writeHead(404).end();
    return;
  }
  const etag = etagOf(bytes);
  const ifMatch = request.headers['if-match'];
  if (ifMatch !== undefined && ifMatch !== etag) {
    response.writeHead(412).end();
    return;
  }
  response.setHeader('etag', etag);
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
  if (first === undefined || last === undefined) {
    response.setHeader('content-length', bytes.length);
    response.end(request.method === 'HEAD' ? undefined : bytes);
    return;
  }
  const end = Math.min(Number(last) + 1, bytes.length);
  response.writeHead(206, {
    'content-range': `bytes ${first}-${end - 1}/${bytes.length}`,
    'content-length': end - Number(first),
  });
  response.end(bytes.subarray(Number(first), end));
}
