import { expect, it } from 'vitest';
import { captionAll } from '../../../adapters/cloudflare/caption-queue.ts';
import type { MessageLike } from '../../../adapters/cloudflare/bindings.ts';
import type { R2BucketLike } from '../../../adapters/r2/r2-bucket.ts';
import { ServeError } from '../../../src/errors.ts';
import { createStubCompleter, type StubOptions } from '../../support/stub-completer.ts';

/** What became of one message, and what was written. */
async function deliver(
  body: unknown,
  options: StubOptions = {},
  attempts = 1,
): Promise<{
  readonly end: string;
  readonly written: readonly string[];
  readonly reports: readonly string[];
}> {
  const ends: string[] = [];
  const written: string[] = [];
  const reports: string[] = [];
  const file = { key: 'cat.png', size: 4, etag: 'e1' };
  const bucket: R2BucketLike = {
    head: async (key) => (key === 'cat.png' ? file : null),
    get: async () => ({ ...file, body: new Blob([new Uint8Array(4)]).stream() }),
    async put(key, value) {
      written.push(`${key} ${new TextDecoder().decode(value)}`);
      return { key, size: value.length, etag: 'e2' };
    },
    list: async () => ({ objects: [], truncated: false }),
    delete: async () => undefined,
  };
  const message: MessageLike = {
    id: 'm',
    attempts,
    body,
    ack: () => void ends.push('ack'),
    retry: ({ delaySeconds } = {}) => void ends.push(`retry after ${delaySeconds ?? 0} s`),
  };
  await captionAll([message], {
    completer: createStubCompleter(options),
    bucket,
    webhookSecret: null,
    captionFolder: 'captions',
    captionPrompt: 'What is it?',
    report: (_, error) => void reports.push(String(error)),
  });
  expect(ends).toHaveLength(1);
  return { end: ends[0] ?? '', written, reports };
}

const failing = (error: unknown): StubOptions => ({ failure: () => error });

it('a job that is done is written down and acknowledged', async () => {
  const { end, written } = await deliver({ image: 'cat.png' }, { reply: () => 'A cat.' });
  expect(end).toBe('ack');
  expect(written).toHaveLength(1);
  expect(written[0]).toMatch(/^captions\/cat\.png\.json \{.*"etag":"e1".*"text":"A cat\."/);
});

it('what may go well another time is tried later and later', async () => {
  for (const error of [
    new ServeError('model_loading', 'not yet'),
    new ServeError('queue_full', 'full'),
    new TypeError('fetch failed'),
  ]) {
    const image = { image: 'cat.png' };
    expect(await deliver(image, failing(error))).toMatchObject({
      end: 'retry after 10 s',
      written: [],
    });
    expect((await deliver(image, failing(error), 3)).end).toBe('retry after 40 s');
    expect((await deliver(image, failing(error), 50)).end).toBe('retry after 600 s');
  }
});

it('what fails for good is written down once, with its reason', async () => {
  const error = new ServeError('invalid_image', 'damaged');
  const { end, written } = await deliver({ image: 'cat.png' }, failing(error));
  expect(end).toBe('ack');
  expect(written[0]).toContain('"text":null,"error":{"code":"invalid_image"');
});

it('a message that is none of ours goes to the dead letters', async () => {
  for (const body of [null, 'cat.png', {}, { image: '' }, { image: 'cat.png', prompt: 5 }]) {
    expect(await deliver(body)).toMatchObject({ end: 'retry after 0 s', written: [] });
  }
});

it('a callback to a private address costs no second caption', async () => {
  const { end, written } = await deliver({ image: 'cat.png', callback: 'https://10.0.0.1/' });
  expect([end, written.length]).toEqual(['ack', 1]);
});

it('keys that leave the bucket are no pictures', async () => {
  for (const image of ['../cat.png', '/cat.png', 'a//b', 'a\\b']) {
    expect((await deliver({ image })).end).toBe('retry after 0 s');
  }
});

const event = (key: string) => ({ action: 'PutObject', object: { key, size: 0, eTag: 'e' } });

it('a folder marker or a name that is no path ends at once, and the log says why', async () => {
  for (const key of ['pictures/', 'a//b', 'a//', '../cat.png']) {
    const { end, written, reports } = await deliver(event(key));
    expect([end, written]).toEqual(['ack', []]);
    expect(reports).toEqual([expect.stringContaining(`no caption: ${JSON.stringify(key)}`)]);
  }
});

it('results that are written and pictures that are deleted are passed over in silence', async () => {
  const deleted = { ...event('cat.png'), action: 'DeleteObject' };
  for (const body of [event('captions/cat.png.json'), event('captions/'), deleted]) {
    expect(await deliver(body)).toEqual({ end: 'ack', written: [], reports: [] });
  }
});
