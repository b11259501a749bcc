import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createFolderSource } from '../../adapters/node/folder-source.ts';
import { nodeSha256 } from '../../adapters/node/sha256.ts';
import { createOnnxBackend } from '../../adapters/onnx/backend.ts';
import { createS3Store } from '../../adapters/s3/s3-store.ts';
import { openModel } from '../../src/bundle/open-model.ts';
import { packCheckpoint } from '../../src/bundle/pack.ts';
import { openCheckpoint } from '../../src/weights/open-checkpoint.ts';
import { stubAwsEnvironment } from '../support/aws-environment.ts';
import { startFakeS3, type FakeS3 } from '../support/fake-s3.ts';
import type { Fault } from '../support/fake-s3-fault.ts';
import { memoryStore } from '../support/memory-store.ts';
import { DEMO_FOLDER } from '../support/onnx-model.ts';
import { createSeededRandom, type SeededRandom } from '../support/seeded-random.ts';
import { createStallClock } from '../support/stall-clock.ts';

const LOADS = 100;
/** Longer than every pause between attempts, in milliseconds. */
const STALL_MS = 100_000;
const TOKENS = Int32Array.from({ length: 40 }, (_, at) => 100 + ((at * 37) % 1800));

/** Logits of a prompt, from a model loaded out of the store. */
async function logitsFrom(server: FakeS3): Promise<Float32Array> {
  const source = createS3Store({
    url: `s3://${server.bucket}`,
    endpoint: server.endpoint,
    region: server.region,
    clock: createStallClock(STALL_MS),
    stallMs: STALL_MS,
    random: () => 0,
  });
  const checkpoint = await openModel(source, { sha256: nodeSha256 });
  try {
    const backend = await createOnnxBackend({
      checkpoint,
      precision: 'fast',
      contextTokens: 128,
      rowCount: 1,
      threads: 2,
    });
    try {
      const chunk = { row: 0, start: 0, tokens: TOKENS, image: null, logits: 'all' as const };
      return (await backend.forward({ decode: [], chunk })).chunk.slice();
    } finally {
      await backend.close();
    }
  } finally {
    await checkpoint.close();
  }
}

function randomFault(random: SeededRandom): { readonly fault: Fault; readonly times: number } {
  const afterBytes = random.integer(0, 200_000);
  return random.pick<{ fault: Fault; times: number }>([
    { fault: { type: 'truncate', afterBytes }, times: random.integer(1, 3) },
    { fault: { type: 'reset', afterBytes }, times: random.integer(1, 3) },
    { fault: { type: 'flip-bit', atByte: afterBytes }, times: random.integer(1, 8) },
    { fault: { type: 'error', status: 503, code: 'SlowDown' }, times: random.integer(1, 12) },
    { fault: { type: 'lost-answer' }, times: 1 },
  ]);
}

describe('a load from a bad S3', { timeout: 300_000 }, () => {
  let server: FakeS3;
  let expected: Float32Array;

  beforeAll(async () => {
    server = await startFakeS3();
    stubAwsEnvironment(server.keys, server.region);
    const source = createFolderSource(DEMO_FOLDER);
    const checkpoint = await openCheckpoint(source);
    const store = memoryStore();
    await packCheckpoint({
      checkpoint,
      source,
      store,
      partBytes: 256 * 1024,
      buildVocabulary: async (json) => json,
    });
    await checkpoint.close();
    for (const [key, bytes] of store.objects) server.put(key, bytes);
    expected = await logitsFrom(server);
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await server.close();
  });

  it(`${LOADS} times ends with the right logits or a clear error`, async () => {
    let right = 0;
    const refusals = new Map<string, number>();
    for (let seed = 1; seed <= LOADS; seed++) {
      const random = createSeededRandom(seed);
      const { fault, times } = randomFault(random);
      const strikeAt = random.integer(1, 25);
      let seen = 0;
      server.onRequest = ({ method }) => {
        if (method === 'GET' && ++seen === strikeAt) server.script('GET', fault, times);
      };
      // An object is replaced by another one half-way.
      const swapped = random.chance(0.2)
        ? random.pick([...server.objects.keys()].filter((key) => key.startsWith('parts/')))
        : null;
      const original = swapped === null ? undefined : server.objects.get(swapped);
      if (swapped !== null)
        server.put(swapped, random.chance(0.5) ? new Uint8Array(9) : bytesLike(original));
      try {
        expect(await logitsFrom(server), `seed ${seed}`).toEqual(expected);
        right++;
      } catch (error) {
        if (!(error instanceof Error) || error.name === 'AssertionError') throw error;
        expect(error.name, `seed ${seed}: ${error.stack}`).toBe('ServeError');
        expect(error.message).not.toContain(server.keys.secretAccessKey);
        expect(error.message).toMatch(/s3:\/\//);
        const kind = error.message.replaceAll(/[0-9a-f]{64}|\d+/g, '#').slice(0, 90);
        refusals.set(kind, (refusals.get(kind) ?? 0) + 1);
      } finally {
        server.onRequest = () => undefined;
        if (swapped !== null && original !== undefined) server.objects.set(swapped, original);
        server.clearScript();
      }
    }
    console.log(`${right} of ${LOADS} loads right`, Object.fromEntries(refusals));
    expect(right).toBeGreaterThan(LOADS / 2);
    expect([...refusals.values()].reduce((sum, count) => sum + count, 0)).toBeGreaterThan(5);
    expect(await logitsFrom(server)).toEqual(expected);
  });
});

function bytesLike(object: { readonly bytes: Uint8Array } | undefined): Uint8Array {
  return new Uint8Array(object?.bytes.length ?? 1).fill(1);
}
