import { createReadStream, readdirSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, normalize, relative } from 'node:path';
import { finished } from 'node:stream/promises';

export interface LinkServer {
  /** `http://127.0.0.1:port`; objects of the folder are at `/bucket/<path>`, as S3 has them. */
  readonly origin: string;
  close(): Promise<void>;
}

const CHUNK_BYTES = 256 * 1024;
/** How much may go out at once after a pause, in seconds of the link. */
const BURST_SECONDS = 0.005;

/**
 * A folder behind a link of `bytesPerSecond`, shared by all connections: HEAD, GET and ranges as S3
 * answers them; what is written is thrown away. It asks for no signature: this measures time.
 */
export async function startLinkServer(folder: string, bytesPerSecond: number): Promise<LinkServer> {
  const take = createLink(bytesPerSecond);
  const server = createServer((request, response) => {
    answer(folder, take, request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Resolves when `bytes` more may have gone over the link. */
function createLink(bytesPerSecond: number): (bytes: number) => Promise<void> {
  let freeAtMs = performance.now();
  return async (bytes) => {
    const nowMs = performance.now();
    freeAtMs = Math.max(freeAtMs, nowMs - BURST_SECONDS * 1000) + (bytes / bytesPerSecond) * 1000;
    const waitMs = freeAtMs - nowMs;
    if (waitMs < 1) return;
    await new Promise((resolve) => {
      setTimeout(resolve, waitMs);
    });
  };
}

async function answer(
  folder: string,
  take: (bytes: number) => Promise<void>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://host');
  if (searchParams.has('list-type')) {
    response.end(listing(folder, searchParams.get('prefix') ?? ''));
    return;
  }
  if (request.method === 'PUT') {
    await finished(request.resume());
    response.writeHead(200, { etag: '"0"' }).end();
    return;
  }
  const key = normalize(decodeURIComponent(pathname)).replace(/^\/bucket\//, '');
  let size: number;
  try {
    const stats = statSync(join(folder, key));
    if (!stats.isFile()) throw new Error('a folder');
    size = stats.size;
  } catch {
    response.writeHead(404).end();
    return;
  }
  const [, first = '0', last = ''] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
  const isRange = last !== '';
  const start = Number(first);
  const end = isRange ? Math.min(Number(last) + 1, size) : size;
  response.writeHead(isRange ? 206 : 200, {
    etag: `"${size}"`,
    'content-length': end - start,
    'accept-ranges': 'bytes',
    ...(isRange ? { 'content-range': `bytes ${start}-${end - 1}/${size}` } : {}),
  });
  if (request.method === 'HEAD' || end === start) {
    response.end();
    return;
  }
  const file = createReadStream(join(folder, key), {
    start,
    end: end - 1,
    highWaterMark: CHUNK_BYTES,
  });
  for await (const chunk of file as AsyncIterable<Buffer>) {
    await take(chunk.length);
    if (response.destroyed) return;
    if (!response.write(chunk)) await drained(response);
  }
  response.end();
}

/** Until more can be written, or nobody listens any more. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.on('drain', done).on('close', done);
  });
}

/** One page of ListObjectsV2 with all objects whose key begins with `prefix`. */
function listing(folder: string, prefix: string): string {
  const parent = prefix.slice(0, prefix.lastIndexOf('/') + 1);
  const entries = readdirSync(join(folder, parent), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .filter((key) => key.startsWith(prefix))
    .map(
      (key) =>
        `<Contents><Key>${key}</Key><Size>${statSync(join(folder, key)).size}</Size></Contents>`,
    );
  return `<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>${entries.join('')}</ListBucketResult>`;
}
