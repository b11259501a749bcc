import { inspect } from 'node:util';
import { S3Client } from '@aws-sdk/client-s3';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parseS3Location } from '../../../adapters/s3/s3-location.ts';
import { createS3Store } from '../../../adapters/s3/s3-store.ts';
import type { S3StoreOptions } from '../../../adapters/s3/s3-store.ts';
import type { ServeError } from '../../../src/errors.ts';
import { stubAwsEnvironment } from '../../support/aws-environment.ts';
import { FAKE_KEYS, startFakeS3 } from '../../support/fake-s3.ts';
import type { FakeS3 } from '../../support/fake-s3.ts';
import { createStallClock } from '../../support/stall-clock.ts';
import { rejectedBy, thrownBy } from '../../support/thrown-by.ts';

const REGION = 'eu-test-1';
const TOKEN = 'session/token/that/must/never/be/shown';

let server: FakeS3;
beforeEach(async () => {
  server = await startFakeS3();
  server.put('m/w', new Uint8Array(100));
});
afterEach(async () => {
  await server.close();
  vi.doUnmock('@aws-sdk/client-s3');
});

/** The error of a read, which shows no credential anywhere. */
async function fault(options: Partial<S3StoreOptions> = {}): Promise<ServeError> {
  const store = createS3Store({
    url: 's3://models/m',
    endpoint: server.endpoint,
    clock: createStallClock(),
    ...options,
  });
  try {
    const error = await rejectedBy(store.read('w', 0, new Uint8Array(10)));
    expectNoSecret(error);
    expectNoSecret(await rejectedBy(store.write('w', new Uint8Array(10))));
    expectNoSecret(await rejectedBy(store.remove('w')));
    return error;
  } finally {
    await store.close();
  }
}

function expectNoSecret(error: unknown): void {
  const everything = inspect(error, { depth: 20, showHidden: true, maxStringLength: null });
  for (const secret of [FAKE_KEYS.secretAccessKey, FAKE_KEYS.accessKeyId, TOKEN, 'AWS4-HMAC']) {
    expect(everything).not.toContain(secret);
  }
}

describe('S3 explains', () => {
  it('a wrong secret', async () => {
    stubAwsEnvironment({ ...FAKE_KEYS, secretAccessKey: 'wrong' }, REGION);
    const error = await fault();
    expect(error.code).toBe('weights_unavailable');
    expect(error.message).toContain('s3://models/m: the secret does not belong');
    expect(error.message).toContain('set AWS_SECRET_ACCESS_KEY');
  });

  it('an unknown access key', async () => {
    stubAwsEnvironment({ ...FAKE_KEYS, accessKeyId: 'AKIDOTHER' }, REGION);
    const { message } = await fault();
    expect(message).toContain('set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY');
    expect(message).not.toContain('AKIDOTHER');
  });

  it('a session token that is not taken', async () => {
    stubAwsEnvironment({ ...FAKE_KEYS, sessionToken: TOKEN }, REGION);
    expect((await fault()).message).toContain('AWS_SESSION_TOKEN');
  });

  it('missing credentials', async () => {
    stubAwsEnvironment(null, REGION);
    const { code, message } = await fault();
    expect(code).toBe('weights_unavailable');
    expect(message).toContain('no credentials were found; set AWS_ACCESS_KEY_ID');
  });

  it('a wrong region, with the right one', async () => {
    stubAwsEnvironment(FAKE_KEYS, 'us-west-2');
    expect((await fault()).message).toContain(`set AWS_REGION=${REGION}`);
  });

  it('a region that is not set, unless the endpoint is another provider’s', async () => {
    stubAwsEnvironment(FAKE_KEYS, undefined);
    const { message } = await fault({ endpoint: undefined });
    expect(message).toContain('no region is set; set AWS_REGION');
    const other = await startFakeS3({ region: 'us-east-1' });
    other.put('m/w', new Uint8Array(3));
    const store = createS3Store({ url: 's3://models/m', endpoint: other.endpoint });
    expect((await store.head('w'))?.sizeBytes).toBe(3);
    await store.close();
    await other.close();
  });

  it('a missing bucket, though a missing object is only absent', async () => {
    stubAwsEnvironment(FAKE_KEYS, REGION);
    const { message } = await fault({ url: 's3://misspelt/m' });
    expect(message).toContain('there is no bucket misspelt');
    expect(message).toContain('AWS_ENDPOINT_URL_S3');
    const store = createS3Store({ url: 's3://models/m', endpoint: server.endpoint });
    expect(await store.head('absent')).toBeNull();
    await store.close();
  });

  it('a refusal, naming the rights it takes', async () => {
    stubAwsEnvironment(FAKE_KEYS, REGION);
    for (const method of ['HEAD', 'GET', 'PUT', 'DELETE']) {
      server.script(method, { type: 'error', status: 403, code: 'AccessDenied' });
    }
    const { message } = await fault();
    expect(message).toContain('access to w was refused (AccessDenied)');
    expect(message).toContain('s3:GetObject');
    expect(message).toContain('s3:ListBucket');
    expect(message).toContain('AWS_PROFILE');
  });

  it('a session that has ended', async () => {
    stubAwsEnvironment(FAKE_KEYS, REGION);
    for (const method of ['HEAD', 'GET', 'PUT', 'DELETE']) {
      server.script(method, { type: 'error', status: 400, code: 'ExpiredToken' });
    }
    expect((await fault()).message).toContain('log in again');
  });

  it('a server that is no S3', async () => {
    stubAwsEnvironment(FAKE_KEYS, REGION);
    const body = Buffer.from('<html><body>Welcome to nginx!</body></html>');
    const answer = { status: 405, headers: { 'content-type': 'text/html' }, body };
    for (const method of ['HEAD', 'GET', 'PUT', 'DELETE']) {
      server.script(method, { type: 'answer', answer });
    }
    expect((await fault()).message).toMatch(/the server answered 405 .*AWS_ENDPOINT_URL_S3/);
  });

  it('a server that cannot be reached', async () => {
    stubAwsEnvironment(FAKE_KEYS, REGION);
    const gone = await startFakeS3();
    await gone.close();
    const { message } = await fault({ endpoint: gone.endpoint });
    expect(message).toContain('s3://models/m: w: the connection failed (ECONNREFUSED)');
    expect(message).toContain('after 6 attempts');
  });

  it.each(['nonsense', 'ftp://host', 'https://user:pass-word@host'])(
    'an endpoint like %s without repeating it',
    async (endpoint) => {
      stubAwsEnvironment(FAKE_KEYS, REGION);
      const { code, message } = await fault({ endpoint });
      expect(code).toBe('invalid_url');
      expect(message).toContain('AWS_ENDPOINT_URL_S3');
      expect(message).not.toContain('pass-word');
    },
  );

  it('that its package is missing', async () => {
    stubAwsEnvironment(FAKE_KEYS, REGION);
    vi.doMock('@aws-sdk/client-s3', () => {
      throw new Error('Cannot find package');
    });
    const { code, message } = await fault();
    expect(code).toBe('backend_unavailable');
    expect(message).toContain('s3://models/m needs the optional package @aws-sdk/client-s3');
    expect(message).toContain('npm install @aws-sdk/client-s3');
  });
});

it('uses a client it is given, and leaves it open', async () => {
  const client = new S3Client({
    region: REGION,
    endpoint: server.endpoint,
    forcePathStyle: true,
    credentials: FAKE_KEYS,
  });
  const destroy = vi.spyOn(client, 'destroy');
  const store = createS3Store({ url: 's3://models/m', client });
  expect((await store.head('w'))?.sizeBytes).toBe(100);
  await store.close();
  expect(destroy).not.toHaveBeenCalled();
  client.destroy();
});

describe('a place in S3', () => {
  it.each([
    ['s3://bucket', 'bucket', '', 's3://bucket'],
    ['s3://bucket/', 'bucket', '', 's3://bucket'],
    ['s3://my.bucket-1/a/b c', 'my.bucket-1', 'a/b c/', 's3://my.bucket-1/a/b c'],
    ['s3://bucket/a/', 'bucket', 'a/', 's3://bucket/a'],
  ])('%s is understood', (url, bucket, prefix, name) => {
    expect(parseS3Location(url)).toEqual({ bucket, prefix, name });
  });

  it.each([
    's3:bucket',
    's3://',
    's3://a',
    's3:///a',
    's3://bucket//a',
    's3://bucket/a//b',
    's3://bucket/../a',
    's3://bucket/a?versionId=1',
    's3://bu cket',
    's3://KEY:hidden@bucket/a',
    'https://bucket',
  ])('%s is refused', (url) => {
    const { code, message } = thrownBy(() => parseS3Location(url));
    expect(code).toBe('invalid_url');
    expect(message).not.toContain('hidden');
  });
});
