import { describe, expect, it } from 'vitest';
import {
  createPageCodec,
  isRefused,
  PAGE_HEADER_BYTES,
  type PageCodec,
} from '../../../../src/engine/kv/store/page-codec.ts';
import type { PageName } from '../../../../src/engine/kv/store/page-names.ts';
import { contentWith, createPageHarness, KV_BYTES, pageOf } from '../../../support/page-harness.ts';
import { forSeeds } from '../../../support/seeded-random.ts';

const CONTENT = contentWith([1, 2, 3, 4, 5, 6, 7, 8], 'a');
const { codec, namesOf } = createPageHarness({ pageTokens: 4, windowTokens: 4 });

async function second(): Promise<PageName> {
  return (await namesOf(CONTENT, 8))[1] as PageName;
}

async function encoded(localStart = 5): Promise<Uint8Array> {
  return codec.encode(pageOf(CONTENT, 4, 4, localStart), await second());
}

const refusalOf = async (of: PageCodec, bytes: Uint8Array, name: PageName): Promise<unknown> => {
  const page = await of.decode(bytes, name);
  return isRefused(page) ? page.refusal : 'none';
};

describe('page codec', () => {
  it.each([4, 5, 8])('gives back every byte, the local part from %i on', async (localStart) => {
    const page = pageOf(CONTENT, 4, 4, localStart);
    expect(await codec.decode(await encoded(localStart), await second())).toEqual(page);
    expect(codec.sizeOf(page)).toBe((await encoded(localStart)).length);
  });

  it('proves the global part without the local one', async () => {
    const bytes = (await encoded()).subarray(0, codec.headBytes(4));
    const head = await codec.decodeHead(bytes, await second());
    const { global } = pageOf(CONTENT, 4, 4);
    expect(head).toMatchObject({ start: 4, count: 4, localStart: 5, global, localBytes: 15 });
  });

  it('refuses every single flipped bit', async () => {
    const whole = await encoded();
    const name = await second();
    const refusals = new Set<unknown>();
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const bytes = whole.slice();
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      refusals.add(await refusalOf(codec, bytes, name));
    }
    expect(refusals).toEqual(new Set(['damaged', 'format']));
  });

  it('refuses every shorter and longer object', async () => {
    const whole = await encoded();
    const name = await second();
    for (let length = 0; length < whole.length; length++) {
      expect(await refusalOf(codec, whole.subarray(0, length), name)).toBe('truncated');
    }
    const longer = new Uint8Array(whole.length + 1);
    longer.set(whole);
    expect(await refusalOf(codec, longer, name)).toBe('damaged');
  });

  it('tells another model, another layout, another content and another version apart', async () => {
    const whole = await encoded();
    const name = await second();
    const foreign = createPageCodec({ fingerprint: 'another', kvTokenBytes: KV_BYTES });
    expect(await refusalOf(foreign, whole, name)).toBe('foreign');
    const fingerprint = 'model/kind/precision';
    const wider = createPageCodec({ fingerprint, kvTokenBytes: { global: 3, local: 6 } });
    expect(await refusalOf(wider, whole, name)).toBe('foreign');
    const [first] = await namesOf(CONTENT, 8);
    expect(await refusalOf(codec, whole, first as PageName)).toBe('other content');
    const older = whole.slice();
    older[8] = 0;
    expect(await refusalOf(codec, older, name)).toBe('format');
    const otherMagic = whole.slice();
    otherMagic[7] = 0x30;
    expect(await refusalOf(codec, otherMagic, name)).toBe('format');
  });

  it('never throws about bytes', async () => {
    const name = await second();
    await forSeeds(200, async (random) => {
      const bytes = new Uint8Array(random.integer(0, 2 * PAGE_HEADER_BYTES));
      for (let at = 0; at < bytes.length; at++) bytes[at] = random.integer(0, 255);
      if (random.chance(0.5)) bytes.set((await encoded()).subarray(0, Math.min(16, bytes.length)));
      expect(await refusalOf(codec, bytes, name)).not.toBe('none');
    });
  });

  it('does not write a page under the name of another', async () => {
    await expect(codec.encode(pageOf(CONTENT, 0, 4), await second())).rejects.toThrow(RangeError);
    const short = { ...pageOf(CONTENT, 4, 4), local: new Uint8Array(1) };
    await expect(codec.encode(short, await second())).rejects.toThrow(RangeError);
  });
});
