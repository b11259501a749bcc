import { expect, it } from 'vitest';
import { encodePng } from '../../../adapters/node/encode-png.ts';
import { createNodeImageDecoder } from '../../../adapters/node/image-decoder.ts';
import { forSeeds } from '../../support/seeded-random.ts';

it('writes PNGs that decode to the same pixels', async () => {
  const decoder = createNodeImageDecoder();
  await forSeeds(10, async (random) => {
    const side = random.integer(1, 40);
    const rgb = Uint8Array.from({ length: side * side * 3 }, () => random.integer(0, 255));
    const { width, height, data } = await decoder.decode(encodePng(rgb, side));
    expect([width, height]).toEqual([side, side]);
    expect(Buffer.from(data).equals(Buffer.from(rgb))).toBe(true);
  });
});
