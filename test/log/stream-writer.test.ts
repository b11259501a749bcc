import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { createStreamWriter } from '../../src/log/stream-writer.ts';

it('writes lines until a slow reader has a mebibyte before it, and goes on when it reads', () => {
  const stream = new PassThrough({ highWaterMark: 1 });
  const write = createStreamWriter(stream);
  const line = 'x'.repeat(99_999);
  const written = Array.from({ length: 20 }, () => write(line)).filter(Boolean).length;
  expect(written).toBe(10);
  expect(stream.writableLength).toBeLessThanOrEqual(1 << 20);
  while (stream.read() !== null);
  expect(write(line)).toBe(true);
});

it('gives up on a stream that broke, without an error for anybody', async () => {
  const stream = new PassThrough();
  const write = createStreamWriter(stream);
  const broken = new Promise((resolve) => stream.once('error', resolve));
  stream.destroy(new Error('EPIPE'));
  await broken;
  expect(write('a line')).toBe(false);
});
