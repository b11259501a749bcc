import { expect, test } from 'vitest';
import { createReplicaImages } from '../../src/fleet/replica-images.ts';
import { sha256Hex } from '../../src/lib/sha256-hex.ts';

const cache = (maxBytes: number) =>
  createReplicaImages({ maxBytes, loadImage: async () => Promise.reject(new Error('none')) });

const picture = (number: number): Uint8Array => new Uint8Array(10).fill(number);
const named = async (number: number) => ({
  position: number,
  image: { rgb: new Uint8Array(0), sha256: await sha256Hex(picture(number)) },
});

test('a call has all its pictures, also more than are kept between calls', async () => {
  const images = cache(25);
  const wanted = await Promise.all([1, 2, 3, 4, 5].map(named));
  const call = images.begin('');
  expect(call.missing(wanted)).toHaveLength(5);
  for (const [index, { image }] of wanted.entries())
    await call.add(image.sha256, picture(index + 1));
  expect(call.missing(wanted)).toEqual([]);
  expect((await call.fill(wanted)).map(({ image }) => image.rgb[0])).toEqual([1, 2, 3, 4, 5]);
  // The two used last are still here for others.
  const missing = images.begin('').missing(wanted);
  expect(missing).toEqual(wanted.slice(0, 3).map(({ image }) => image.sha256));
});

test('what a call has found is not taken from it by other calls', async () => {
  const images = cache(10);
  const [first, second] = await Promise.all([1, 2].map(named));
  if (first === undefined || second === undefined) throw new Error('there are two');
  await images.begin('').add(first.image.sha256, picture(1));
  const call = images.begin('');
  expect(call.missing([first])).toEqual([]);
  await images.begin('').add(second.image.sha256, picture(2));
  expect(images.begin('').missing([first])).toEqual([first.image.sha256]);
  expect((await call.fill([first]))[0]?.image.rgb).toEqual(picture(1));
  await expect(
    call.fill([second, { ...first, image: { ...first.image, sha256: '00' } }]),
  ).rejects.toThrow('was not sent');
  await expect(call.add(first.image.sha256, picture(2))).rejects.toThrow('not what its hash');
});
