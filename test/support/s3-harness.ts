import { createS3Store } from '../../adapters/s3/s3-store.ts';
import type { S3StoreOptions } from '../../adapters/s3/s3-store.ts';
import type { ObjectStore } from '../../src/weights/object-store.ts';
import { stubAwsEnvironment } from './aws-environment.ts';
import { FAKE_KEYS, startFakeS3 } from './fake-s3.ts';
import type { FakeS3 } from './fake-s3.ts';
import { createStallClock } from './stall-clock.ts';
import type { StallClock } from './stall-clock.ts';

/** A store on a fake S3 that holds one object. */
export interface S3Harness {
  readonly server: FakeS3;
  readonly clock: StallClock;
  /** At `s3://models/m`, where `w` holds `S3_BYTES`. */
  readonly store: ObjectStore;
  /** Another store at the same place. */
  open(options?: Partial<S3StoreOptions>): ObjectStore;
  /** What was asked for by GETs so far. */
  ranges(): readonly (string | undefined)[];
  close(): Promise<void>;
}

/** Longer than every pause that a test asks for, in milliseconds. */
export const S3_STALL_MS = 100_000;

export const S3_BYTES: Uint8Array = Uint8Array.from(
  { length: 700_000 },
  (_, i) => (i * 7 + (i >>> 9)) & 255,
);

export async function startS3Harness(): Promise<S3Harness> {
  stubAwsEnvironment(FAKE_KEYS, 'eu-test-1');
  const server = await startFakeS3();
  server.put('m/w', S3_BYTES);
  const clock = createStallClock(S3_STALL_MS);
  const open = (options: Partial<S3StoreOptions> = {}): ObjectStore =>
    createS3Store({
      url: 's3://models/m',
      endpoint: server.endpoint,
      clock,
      stallMs: S3_STALL_MS,
      random: () => 0,
      ...options,
    });
  const store = open();
  return {
    server,
    clock,
    store,
    open,
    ranges: () =>
      server.requests.filter(({ method }) => method === 'GET').map(({ headers }) => headers.range),
    async close() {
      await store.close();
      await server.close();
    },
  };
}
