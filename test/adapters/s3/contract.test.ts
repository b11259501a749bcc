import { beforeEach } from 'vitest';
import { createS3Store } from '../../../adapters/s3/s3-store.ts';
import { describeObjectSource } from '../../contracts/object-source.ts';
import { describeObjectStore } from '../../contracts/object-store.ts';
import { stubAwsEnvironment } from '../../support/aws-environment.ts';
import { FAKE_KEYS, startFakeS3 } from '../../support/fake-s3.ts';

beforeEach(() => stubAwsEnvironment(FAKE_KEYS, 'eu-test-1'));

describeObjectSource('S3', async () => {
  const server = await startFakeS3();
  return {
    source: createS3Store({ url: 's3://models/gemma', endpoint: server.endpoint }),
    async put(key, bytes) {
      server.put(`gemma/${key}`, bytes);
    },
    dispose: () => server.close(),
  };
});

describeObjectStore('S3', async () => {
  const server = await startFakeS3({ pageSize: 4 });
  // What lies beside the store's folder is not its.
  server.put('gemma-other/config.json', new Uint8Array(3));
  server.put('gemma', new Uint8Array(3));
  const open = () => createS3Store({ url: 's3://models/gemma/', endpoint: server.endpoint });
  return { store: open(), open, dispose: () => server.close() };
});

describeObjectStore('a whole S3 bucket', async () => {
  const server = await startFakeS3();
  const open = () => createS3Store({ url: 's3://models', endpoint: server.endpoint });
  return { store: open(), open, dispose: () => server.close() };
});
