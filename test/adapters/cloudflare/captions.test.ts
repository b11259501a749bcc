import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EdgeFleet, startEdgeFleet } from '../../support/edge-fleet.ts';
import { readImageFile } from '../../support/golden-images.ts';

interface Result {
  readonly image: string;
  readonly text: string | null;
  readonly error: { readonly code: string } | null;
}

/** As R2 writes it. */
const event = (action: string, key: string): object => ({
  account: 'a',
  bucket: 'gemlet-models',
  action,
  object: { key, size: 1, eTag: 'e' },
  eventTime: '2026-07-01T00:00:00.000Z',
});

describe('pictures in the queue', () => {
  let fleet: EdgeFleet;
  beforeAll(async () => {
    fleet = await startEdgeFleet({
      objects: {
        'pictures/one.jpg': readImageFile('baseline.jpg'),
        'pictures/two.webp': readImageFile('lossy.webp'),
        'pictures/damaged.jpg': readImageFile('baseline.jpg').subarray(0, 200),
      },
    });
  });
  afterAll(() => fleet?.close());

  const send = (message: unknown): Promise<void> => fleet.worker.sendCaption(message);

  /** Waits for an object of the bucket; the test's own time limit ends what never comes. */
  async function result(key: string): Promise<Result> {
    for (;;) {
      const object = await fleet.worker.bucket.get(key);
      if (object !== null) return JSON.parse(await object.text()) as Result;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  const generated = (): number =>
    fleet.replicas[0]?.asked.filter((path) => path.endsWith('/generate')).length ?? 0;

  it('are captioned as R2 reports them, and the answers are not captioned again', async () => {
    await send(event('DeleteObject', 'pictures/two.webp'));
    await send(event('PutObject', 'captions/pictures/two.webp.json'));
    await send(event('PutObject', 'pictures/one.jpg'));
    const { text, image, error } = await result('captions/pictures/one.jpg.json');
    expect([image, error]).toEqual(['pictures/one.jpg', null]);
    expect(text).not.toBe('');
    expect(generated()).toBe(1);
  });

  it('are computed once, however often a message comes', async () => {
    const before = generated();
    await send({ image: 'pictures/two.webp' });
    const { text } = await result('captions/pictures/two.webp.json');
    await send({ image: 'pictures/two.webp' });
    // Another prompt is another job; its answer comes after the repeated one.
    await send({ image: 'pictures/two.webp', prompt: 'Which colours?' });
    for (;;) {
      const { objects } = await fleet.worker.bucket.list({ prefix: 'captions/pictures/two.webp' });
      if (objects.length === 2) break;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(generated() - before).toBe(2);
    expect((await result('captions/pictures/two.webp.json')).text).toBe(text);
  });

  it('that cannot be read get an answer that says so', async () => {
    const before = generated();
    await send({ image: 'pictures/damaged.jpg' });
    await send({ image: 'pictures/none.jpg' });
    for (const name of ['damaged.jpg', 'none.jpg']) {
      const { text, error } = await result(`captions/pictures/${name}.json`);
      expect([text, error?.code]).toEqual([null, 'invalid_image']);
    }
    expect(generated()).toBe(before);
  });
});
