import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createS3Store } from '../../adapters/s3/s3-store.ts';
import type { ObjectStore } from '../../src/weights/object-store.ts';
import { describeObjectSource } from '../contracts/object-source.ts';
import { describeObjectStore } from '../contracts/object-store.ts';
import { stubAwsEnvironment } from '../support/aws-environment.ts';
import { startRadosgw } from '../support/radosgw.ts';
import type { RunningRadosgw } from '../support/radosgw.ts';
import { rejectedBy } from '../support/thrown-by.ts';

/** `npm run test:s3` sets it: Ceph's packages are heavy, and not on every machine. */
const isWanted = process.env['GEMLET_RADOSGW'] === '1';

describe.skipIf(!isWanted)('a real S3 server (npm run test:s3; Ceph’s radosgw)', () => {
  let server: RunningRadosgw;
  let buckets = 0;
  beforeAll(async () => {
    server = await startRadosgw();
  }, 120_000);
  afterAll(() => server?.stop());
  beforeEach(() => stubAwsEnvironment(server, 'us-east-1'));

  const open = (bucket: string): ObjectStore =>
    createS3Store({ url: `s3://${bucket}/gemma`, endpoint: server.endpoint });
  const makeBucket = async (): Promise<string> => {
    const client = new S3Client({
      region: 'us-east-1',
      endpoint: server.endpoint,
      forcePathStyle: true,
      credentials: server,
    });
    const Bucket = `bucket-${++buckets}`;
    await client.send(new CreateBucketCommand({ Bucket }));
    client.destroy();
    return Bucket;
  };

  describeObjectStore('radosgw', async () => {
    const bucket = await makeBucket();
    return { store: open(bucket), open: () => open(bucket), dispose: async () => undefined };
  });

  describeObjectSource('radosgw', async () => {
    const bucket = await makeBucket();
    const writer = open(bucket);
    return {
      source: open(bucket),
      async put(key, bytes) {
        await writer.write(key, bytes);
      },
      dispose: () => writer.close(),
    };
  });

  it('lists more objects than one page holds', async () => {
    const store = open(await makeBucket());
    const keys = Array.from({ length: 1005 }, (_, i) => `many/${String(i).padStart(4, '0')}`);
    for (let at = 0; at < keys.length; at += 50) {
      await Promise.all(keys.slice(at, at + 50).map((key) => store.write(key, new Uint8Array(1))));
    }
    const listed: string[] = [];
    for await (const { key } of store.listPrefix('many/')) listed.push(key);
    expect(listed.toSorted()).toEqual(keys);
    await store.close();
  });

  it('refuses a wrong secret, an unknown key and a bucket that is not there', async () => {
    const bucket = await makeBucket();
    expect(await refusalOf(open('nowhere'))).toContain('there is no bucket nowhere');
    stubAwsEnvironment({ ...server, secretAccessKey: 'wrong' }, 'us-east-1');
    expect(await refusalOf(open(bucket))).toContain('set AWS_SECRET_ACCESS_KEY');
    stubAwsEnvironment({ ...server, accessKeyId: 'nobody' }, 'us-east-1');
    expect(await refusalOf(open(bucket))).toContain('set AWS_ACCESS_KEY_ID');
  });
});

async function refusalOf(store: ObjectStore): Promise<string> {
  const error = await rejectedBy(store.read('w', 0, new Uint8Array(1)));
  await store.close();
  return error.message;
}
