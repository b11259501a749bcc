import { AwsV4Signer } from 'aws4fetch';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { FAKE_KEYS, startFakeS3 } from '../support/fake-s3.ts';
import type { FakeS3 } from '../support/fake-s3.ts';

let server: FakeS3;
const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i & 255);
beforeEach(async () => {
  server = await startFakeS3({ pageSize: 2 });
  server.put('a b/w+1', bytes);
});
afterEach(() => server.close());

interface Changes {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly secretAccessKey?: string;
  readonly datetime?: string;
  readonly body?: Uint8Array<ArrayBuffer>;
}

/** Signs a request; `tamper` changes it afterwards. */
async function ask(
  path: string,
  changes: Changes = {},
  tamper: (headers: Headers, url: URL) => void = () => undefined,
): Promise<{ readonly status: number; readonly headers: Headers; readonly text: string }> {
  const { headers: given, ...others } = changes;
  const signer = new AwsV4Signer({
    ...FAKE_KEYS,
    url: `${server.endpoint}/models${path}`,
    method: 'GET',
    service: 's3',
    region: server.region,
    allHeaders: true,
    ...others,
    headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', ...given },
  });
  const { url, headers } = await signer.sign();
  tamper(headers, url);
  const response = await fetch(url, {
    method: changes.method ?? 'GET',
    headers,
    ...(changes.body === undefined ? {} : { body: changes.body }),
  });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

it('takes a good signature, and refuses others as S3 does', async () => {
  expect((await ask('/a%20b/w%2B1')).status).toBe(200);
  const wrong = await ask('/a%20b/w%2B1', { secretAccessKey: 'wrong' });
  expect([wrong.status, wrong.text]).toEqual([403, expect.stringContaining('SignatureDoesNot')]);
  const header = await ask('/a%20b/w%2B1', { headers: { range: 'bytes=0-9' } }, (headers) =>
    headers.set('range', 'bytes=0-99'),
  );
  expect(header.text).toContain('<Code>SignatureDoesNotMatch</Code>');
  const path = await ask('/other', {}, (_headers, url) => {
    url.pathname = '/models/a b/w+1';
  });
  expect(path.text).toContain('<Code>SignatureDoesNotMatch</Code>');
  const query = await ask('/?list-type=2&prefix=x', {}, (_headers, url) =>
    url.searchParams.set('prefix', 'a'),
  );
  expect(query.text).toContain('<Code>SignatureDoesNotMatch</Code>');
  const unsigned = await ask('/a%20b/w%2B1', {}, (headers) => headers.set('x-amz-acl', 'public'));
  expect(unsigned.text).toContain('<Code>AccessDenied</Code>');
  const nobody = await ask('/a%20b/w%2B1', {}, (headers) => headers.delete('authorization'));
  expect([nobody.status, nobody.text]).toEqual([403, expect.stringContaining('AccessDenied')]);
  const old = await ask('/a%20b/w%2B1', { datetime: '20200101T000000Z' });
  expect([old.status, old.text]).toEqual([403, expect.stringContaining('RequestTimeTooSkewed')]);
});

it('refuses a body that is not the signed one', async () => {
  const put = { method: 'PUT', body: new Uint8Array([1, 2, 3]) };
  const hash = '039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81';
  const good = await ask('/new', { ...put, headers: { 'x-amz-content-sha256': hash } });
  expect(good.status).toBe(200);
  const bad = await ask('/new', {
    ...put,
    body: new Uint8Array([1, 2, 4]),
    headers: { 'x-amz-content-sha256': hash },
  });
  expect(bad.text).toContain('<Code>XAmzContentSHA256Mismatch</Code>');
  expect(server.objects.get('new')?.bytes).toEqual(Buffer.from([1, 2, 3]));
});

it.each([
  ['bytes=0-9', 206, 'bytes 0-9/1000', 10],
  ['bytes=990-', 206, 'bytes 990-999/1000', 10],
  ['bytes=-3', 206, 'bytes 997-999/1000', 3],
  ['bytes=-5000', 206, 'bytes 0-999/1000', 1000],
  ['bytes=990-5000', 206, 'bytes 990-999/1000', 10],
  ['bytes=1000-1001', 416, 'bytes */1000', null],
  ['bytes=-0', 416, 'bytes */1000', null],
  ['lines=1-2', 200, null, 1000],
])('answers the range %s with %i', async (range, status, contentRange, length) => {
  const answer = await ask('/a%20b/w%2B1', { headers: { range } });
  expect(answer.status).toBe(status);
  expect(answer.headers.get('content-range')).toBe(contentRange);
  if (length !== null) expect(Number(answer.headers.get('content-length'))).toBe(length);
});

it('keeps conditions', async () => {
  const etag = server.objects.get('a b/w+1')?.etag ?? '';
  const get = (headers: Record<string, string>) => ask('/a%20b/w%2B1', { headers });
  expect((await get({ 'if-match': etag })).status).toBe(200);
  expect((await get({ 'if-match': '"other"' })).status).toBe(412);
  expect((await get({ 'if-none-match': etag })).status).toBe(304);
  const put = { method: 'PUT', body: new Uint8Array(1), headers: { 'if-none-match': '*' } };
  expect((await ask('/a%20b/w%2B1', put)).status).toBe(412);
  expect((await ask('/b', put)).status).toBe(200);
});

it('lists in pages, with folders of their own where a delimiter is given', async () => {
  for (const key of ['a b/x', 'b', 'c/1', 'c/2', 'd']) server.put(key, bytes);
  const pages: string[] = [];
  let more = '';
  do {
    const { text } = await ask(`/?list-type=2&delimiter=%2F${more}`);
    const names = [...text.matchAll(/<(?:Key|Prefix)>([^<]+)</g)].map(([, name]) => name ?? '');
    pages.push(names.toSorted((a, b) => a.localeCompare(b)).join(' '));
    const token = /<NextContinuationToken>([^<]+)</.exec(text)?.[1];
    more = token === undefined ? '' : `&continuation-token=${token}`;
  } while (more !== '');
  expect(pages).toEqual(['a b/ b', 'c/ d']);
});
