import { describe, expect, it } from 'vitest';
import type { KvContent } from '../../../../src/engine/kv/kv-store.ts';
import {
  createPageNamer,
  parsePageKey,
  type PageName,
} from '../../../../src/engine/kv/store/page-names.ts';
import { checkObjectKey } from '../../../../src/weights/object-key.ts';
import { contentWith } from '../../../support/page-harness.ts';
import { forSeeds, type SeededRandom } from '../../../support/seeded-random.ts';

const PAGE = 4;
const IMAGE = -5;
const HASHES = ['1'.repeat(64), `${'1'.repeat(63)}2`];

async function namesOf(content: KvContent, fingerprint = 'a model'): Promise<readonly PageName[]> {
  const namer = createPageNamer({ fingerprint });
  return (await namer.chain(content, PAGE, content.words.length)).full;
}

const lastOf = async (content: KvContent, fingerprint?: string): Promise<string> =>
  (await namesOf(content, fingerprint)).at(-1)?.name ?? '';

const tenantOf = async (scope: string): Promise<string | undefined> =>
  parsePageKey((await namesOf(contentWith([1, 2, 3, 4], scope)))[0]?.key ?? '')?.tenant;

function randomContent(random: SeededRandom): KvContent {
  const words = Array.from({ length: 8 }, () => random.pick([1, 2, IMAGE]));
  const images = words.flatMap((word, position) =>
    word === IMAGE && words[position - 1] !== IMAGE
      ? [{ position, sha256: random.pick(HASHES) }]
      : [],
  );
  return contentWith(words, random.pick(['', 'a', 'b']), images);
}

describe('page names', () => {
  it('are plain keys below the model and the scope, which they do not tell', async () => {
    const [first, second] = await namesOf(contentWith([1, 2, 3, 4, 5, 6, 7, 8], 'secret'));
    expect(() => checkObjectKey(first?.key ?? '')).not.toThrow();
    expect(first?.key).not.toContain('secret');
    expect(parsePageKey(second?.key ?? '')).toEqual({
      tenant: expect.stringMatching(/^[0-9a-f]{16}$/) as string,
      parent: first?.name,
      name: second?.name,
      count: PAGE,
    });
  });

  it('tell pages of one tenant from those of others, whatever salt its requests bring', async () => {
    expect(await tenantOf('a\0salt')).toBe(await tenantOf('a'));
    expect(await tenantOf('a\0other')).toBe(await tenantOf('a'));
    expect(await tenantOf('b')).not.toBe(await tenantOf('a'));
  });

  it('differ with all that a page depends on', async () => {
    const content = contentWith([1, 2, 3, 4, IMAGE, IMAGE, 7, 8], 'a', [
      { position: 4, sha256: '1'.repeat(64) },
    ]);
    const name = await lastOf(content);
    const words = Int32Array.from(content.words);
    words[0] = 9;
    const [image] = content.images;
    const others: KvContent[] = [
      { ...content, words },
      { ...content, scope: 'b' },
      { ...content, scope: '' },
      { ...content, images: [] },
      { ...content, images: [{ position: 5, sha256: image?.sha256 ?? '' }] },
      // As many digits as the words of a long run could tell, and one more.
      { ...content, images: [{ position: 4, sha256: `${'1'.repeat(63)}2` }] },
    ];
    for (const other of others) expect(await lastOf(other)).not.toBe(name);
    expect(await lastOf(content, 'another model')).not.toBe(name);
    expect(await lastOf(content)).toBe(name);
  });

  it('keep scopes apart that UTF-8 does not', async () => {
    const words = [1, 2, 3, 4];
    const [a] = await namesOf(contentWith(words, '\uD800'));
    const [b] = await namesOf(contentWith(words, '\uD801'));
    expect(a?.name).not.toBe(b?.name);
    expect(a?.key.split('/')[2]).not.toBe(b?.key.split('/')[2]);
  });

  it('are equal exactly where contents are', async () => {
    const seen = new Map<string, string>();
    await forSeeds(300, async (random) => {
      const content = randomContent(random);
      for (const { name, start, count } of await namesOf(content)) {
        const end = start + count;
        const until = JSON.stringify([
          content.scope,
          [...content.words.subarray(0, end)],
          content.images.filter(({ position }) => position < end),
        ]);
        expect(seen.get(name) ?? until).toBe(until);
        seen.set(name, until);
      }
    });
    expect(new Set(seen.values()).size).toBe(seen.size);
    expect(seen.size).toBeGreaterThan(100);
  });

  it('name partial pages too, and refuse places that are none', async () => {
    const namer = createPageNamer({ fingerprint: 'a model' });
    const chain = await namer.chain(contentWith([1, 2, 3, 4, 5, 6]), PAGE, 6);
    const partial = await chain.next(1, 2);
    expect(partial).toMatchObject({ start: 4, count: 2, parent: chain.full[0]?.name });
    expect(partial.key.startsWith(chain.prefix(1))).toBe(true);
    expect(() => chain.next(1, 3)).toThrow(RangeError);
    expect(() => chain.prefix(2)).toThrow(RangeError);
    const bad = contentWith([IMAGE, IMAGE, 1, 2], '', [{ position: 0, sha256: 'abcd' }]);
    await expect(namer.chain(bad, PAGE, 4)).rejects.toThrow('whole SHA-256');
  });
});
