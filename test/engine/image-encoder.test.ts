import { describe, expect, it } from 'vitest';
import { createFakeBackend } from '../../adapters/fake/backend.ts';
import { fakeModelConfig } from '../../adapters/fake/config.ts';
import { createImageEncoder, type ImageEncoder } from '../../src/engine/image-encoder.ts';
import { testImage, toPixels } from '../support/engine-harness.ts';

const config = fakeModelConfig();
const EMBEDDING_BYTES = (config.vision?.tokensPerImage ?? 0) * config.text.hiddenSize * 4;

function create(cacheBytes: number, beforeEncode?: () => void | Promise<void>): ImageEncoder {
  const backend = createFakeBackend({
    config,
    ...(beforeEncode === undefined ? {} : { beforeEncode }),
  });
  return createImageEncoder({ backend, toPixels, cacheBytes, onSettled: () => undefined });
}

async function use(encoder: ImageEncoder, number: number): Promise<Float32Array | null> {
  const lease = encoder.acquire(testImage(number), '');
  await encoder.settled();
  const { embedding } = lease;
  lease.release();
  return embedding;
}

describe('image encoder', () => {
  it('encodes an image once while it is used, and again later when nothing may be kept', async () => {
    const encoder = create(0);
    const [first, second] = [encoder.acquire(testImage(1), ''), encoder.acquire(testImage(1), '')];
    await encoder.settled();
    expect(first.embedding).not.toBeNull();
    expect(second.embedding).toBe(first.embedding);
    expect(encoder.stats()).toEqual({ encoded: 1, hits: 1, idleBytes: 0 });
    first.release();
    second.release();
    await use(encoder, 1);
    expect(encoder.stats().encoded).toBe(2);
  });

  it('keeps embeddings for images that come again, the latest used ones', async () => {
    const encoder = create(2 * EMBEDDING_BYTES);
    const first = await use(encoder, 1);
    await use(encoder, 2);
    expect(await use(encoder, 1)).toEqual(first);
    await use(encoder, 3);
    expect(encoder.stats()).toEqual({ encoded: 3, hits: 1, idleBytes: 2 * EMBEDDING_BYTES });
    // 2 was used longest ago and had to go; 1 is still there.
    await use(encoder, 1);
    expect(encoder.stats().encoded).toBe(3);
    await use(encoder, 2);
    expect(encoder.stats().encoded).toBe(4);
    encoder.clear();
    expect(encoder.stats().idleBytes).toBe(0);
  });

  it('keeps no failure', async () => {
    let failures = 1;
    const encoder = create(1e6, () => {
      if (failures-- > 0) throw new Error('injected');
    });
    const lease = encoder.acquire(testImage(1), '');
    await encoder.settled();
    expect(lease.failure).not.toBeNull();
    lease.release();
    expect(await use(encoder, 1)).not.toBeNull();
  });

  it('stops what nobody waits for any more and keeps none of it', async () => {
    const encoder = create(1e6);
    encoder.acquire(testImage(1), '').release();
    await encoder.settled();
    expect(encoder.stats()).toEqual({ encoded: 0, hits: 0, idleBytes: 0 });
  });

  it('encodes anew what was given up while under way, and keeps only the new one', async () => {
    let begin: (() => void) | undefined;
    let go: (() => void) | undefined;
    const begun = new Promise<void>((resolve) => (begin = resolve));
    const gate = new Promise<void>((resolve) => (go = resolve));
    const encoder = create(1e6, () => {
      begin?.();
      return gate;
    });
    const first = encoder.acquire(testImage(1), '');
    await begun;
    first.release();
    const second = encoder.acquire(testImage(1), '');
    go?.();
    await encoder.settled();
    expect(second.embedding).not.toBeNull();
    second.release();
    expect(encoder.stats()).toEqual({ encoded: 2, hits: 0, idleBytes: EMBEDDING_BYTES });
  });

  it('drops nothing that is in use, however little may be kept', async () => {
    const encoder = create(EMBEDDING_BYTES);
    const held = encoder.acquire(testImage(1), '');
    await use(encoder, 2);
    await use(encoder, 3);
    encoder.clear();
    expect(held.embedding).not.toBeNull();
    expect(encoder.acquire(testImage(1), '').embedding).toBe(held.embedding);
    expect(encoder.stats()).toEqual({ encoded: 3, hits: 1, idleBytes: 0 });
  });
});
