import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Refusal } from './fake-s3-signature.ts';

export interface FakeObject {
  readonly bytes: Uint8Array;
  readonly etag: string;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface FakeRequest {
  readonly method: string;
  /** Empty for the bucket itself. */
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
}

export interface FakeAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly body: Uint8Array;
}

const NOTHING = new Uint8Array();

export function fakeObject(
  bytes: Uint8Array,
  metadata: Readonly<Record<string, string>> = {},
): FakeObject {
  return { bytes, metadata, etag: `"${createHash('md5').update(bytes).digest('hex')}"` };
}

/** What a bucket with these objects answers to a request whose signature is good. */
export function answerS3(
  objects: Map<string, FakeObject>,
  request: FakeRequest,
  body: Uint8Array,
  pageSize: number,
): FakeAnswer {
  const { method, key } = request;
  if (key === '') {
    if (method === 'GET' && request.query.get('list-type') === '2') {
      return listAnswer(objects, request.query, pageSize);
    }
    return method === 'HEAD' ? empty(200) : xmlError(notImplemented(method));
  }
  if (method === 'GET' || method === 'HEAD') return readAnswer(objects.get(key), request);
  if (method === 'PUT') return writeAnswer(objects, request, body);
  if (method === 'DELETE') {
    objects.delete(key);
    return empty(204);
  }
  return xmlError(notImplemented(method));
}

function readAnswer(object: FakeObject | undefined, { headers }: FakeRequest): FakeAnswer {
  if (object === undefined) {
    return xmlError({ status: 404, code: 'NoSuchKey', message: 'The key does not exist.' });
  }
  const { bytes, etag, metadata } = object;
  const size = bytes.length;
  const ifMatch = headers['if-match'];
  if (ifMatch !== undefined && ifMatch !== '*' && ifMatch !== etag) {
    return xmlError({ status: 412, code: 'PreconditionFailed', message: 'If-Match did not hold' });
  }
  if (headers['if-none-match'] === etag) return { ...empty(304), headers: { etag } };
  const common = {
    etag,
    'accept-ranges': 'bytes',
    ...Object.fromEntries(Object.entries(metadata).map(([k, v]) => [`x-amz-meta-${k}`, v])),
  };
  const span = rangeOf(headers.range, size);
  if (span === null) {
    return { status: 200, headers: { ...common, 'content-length': size }, body: bytes };
  }
  const [first, end] = span;
  if (first >= end) {
    return xmlError(
      { status: 416, code: 'InvalidRange', message: 'The range is not satisfiable' },
      { 'content-range': `bytes */${size}` },
    );
  }
  return {
    status: 206,
    headers: {
      ...common,
      'content-range': `bytes ${first}-${end - 1}/${size}`,
      'content-length': end - first,
    },
    body: bytes.subarray(first, end),
  };
}

/** @returns first byte and end; empty when it cannot be satisfied, null when there is no range */
function rangeOf(header: string | undefined, size: number): readonly [number, number] | null {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? [];
  if (first === '' && last === '') return null;
  if (first === '') return [Math.max(0, size - Number(last)), size];
  return [Number(first), last === '' ? size : Math.min(Number(last) + 1, size)];
}

function writeAnswer(
  objects: Map<string, FakeObject>,
  { key, headers }: FakeRequest,
  body: Uint8Array,
): FakeAnswer {
  if (headers['content-length'] === undefined) {
    return xmlError({ status: 411, code: 'MissingContentLength', message: 'No Content-Length' });
  }
  if (headers['if-none-match'] === '*' && objects.has(key)) {
    return xmlError({ status: 412, code: 'PreconditionFailed', message: 'It exists' });
  }
  const metadata = Object.entries(headers).flatMap(([name, value]): [string, string][] =>
    name.startsWith('x-amz-meta-') ? [[name.slice(11), String(value)]] : [],
  );
  const object = fakeObject(body, Object.fromEntries(metadata));
  objects.set(key, object);
  return { ...empty(200), headers: { etag: object.etag, 'content-length': 0 } };
}

function listAnswer(
  objects: ReadonlyMap<string, FakeObject>,
  query: URLSearchParams,
  pageSize: number,
): FakeAnswer {
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const token = query.get('continuation-token') ?? '';
  const after = Buffer.from(token, 'base64url').toString();
  const limit = Math.min(Number(query.get('max-keys') ?? 1000), pageSize);
  const folders = new Set<string>();
  const keys: string[] = [];
  let last = '';
  let isTruncated = false;
  for (const key of [...objects.keys()].toSorted()) {
    if (!key.startsWith(prefix) || key <= after) continue;
    const cut = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
    const folder = key.slice(0, cut + delimiter.length);
    if (cut >= 0 && folders.has(folder)) {
      last = key;
      continue;
    }
    if (keys.length + folders.size === limit) {
      isTruncated = true;
      break;
    }
    if (cut >= 0) folders.add(folder);
    else keys.push(key);
    last = key;
  }
  const next = Buffer.from(last).toString('base64url');
  return xml(
    200,
    `<ListBucketResult><Prefix>${escape(prefix)}</Prefix><KeyCount>${keys.length}</KeyCount><IsTruncated>${isTruncated}</IsTruncated>${isTruncated ? `<NextContinuationToken>${next}</NextContinuationToken>` : ''}${keys
      .map(
        (key) =>
          `<Contents><Key>${escape(key)}</Key><Size>${objects.get(key)?.bytes.length}</Size><ETag>${escape(objects.get(key)?.etag ?? '')}</ETag><LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>`,
      )
      .join('')}${[...folders]
      .map((folder) => `<CommonPrefixes><Prefix>${escape(folder)}</Prefix></CommonPrefixes>`)
      .join('')}</ListBucketResult>`,
  );
}

/** An error as S3 writes it. */
export function xmlError(
  { status, code, message, details = {} }: Refusal,
  headers: Readonly<Record<string, string>> = {},
): FakeAnswer {
  const more = Object.entries(details).map(([name, text]) => `<${name}>${escape(text)}</${name}>`);
  return xml(
    status,
    `<Error><Code>${code}</Code><Message>${escape(message)}</Message>${more.join('')}<RequestId>TX0001</RequestId></Error>`,
    { 'x-amz-request-id': 'TX0001', ...headers },
  );
}

function xml(
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): FakeAnswer {
  const body = Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n${text}`);
  return {
    status,
    headers: { 'content-type': 'application/xml', 'content-length': body.length, ...headers },
    body,
  };
}

function empty(status: number): FakeAnswer {
  return { status, headers: {}, body: NOTHING };
}

function notImplemented(method: string): Refusal {
  return { status: 501, code: 'NotImplemented', message: `${method} is not implemented` };
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
}
