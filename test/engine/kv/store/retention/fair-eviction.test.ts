import { describe, expect, it } from 'vitest';
import {
  chargeOf,
  fairEvictions,
} from '../../../../../src/engine/kv/store/retention/fair-eviction.ts';
import type { StoredPage } from '../../../../../src/engine/kv/store/retention/page-inventory.ts';
import { forSeeds } from '../../../../support/seeded-random.ts';

const SIZE = 10_000;

function page(name: string, tenant: string, modifiedMs: number, parent = 'root'): StoredPage {
  return { key: name, name, tenant, parent, sizeBytes: SIZE, modifiedMs };
}

function goingOf(pages: readonly StoredPage[], room: number): readonly string[] {
  const byName = new Map(pages.map((each) => [each.name, each]));
  return fairEvictions(byName, ({ modifiedMs }) => modifiedMs ?? 0, room * SIZE).map(
    ({ name }) => name,
  );
}

describe('what goes from a full store', () => {
  it('is nothing where all fits', () => {
    expect(goingOf([page('a', 't', 1), page('b', 'u', 2)], 2)).toEqual([]);
  });

  it('is the least recently used, and no page before those that hang on it', () => {
    const pages = [
      page('first', 't', 1),
      page('second', 't', 2, 'first'),
      page('third', 't', 9, 'second'),
      page('other', 't', 5),
      page('more', 't', 5, 'other'),
    ];
    expect(goingOf(pages, 4)).toEqual(['more']);
    expect(goingOf(pages, 3)).toEqual(['more', 'other']);
    expect(goingOf(pages, 1)).toEqual(['more', 'other', 'third', 'second']);
  });

  it('is of the tenant with most, however old the pages of others are', () => {
    const junk = Array.from({ length: 20 }, (_, at) => page(`junk ${at}`, 'greedy', 100 + at));
    const honest = [page('old', 'honest', 1), page('older', 'other', 0)];
    const going = goingOf([...honest, ...junk], 8);
    expect(going).toHaveLength(14);
    expect(going.every((name) => name.startsWith('junk'))).toBe(true);
  });

  it('counts small objects as what they take of a disk', () => {
    expect(chargeOf(40)).toBe(4096);
    expect(chargeOf(5000)).toBe(5000);
  });

  it('fits, is as little as that takes, and leaves no page without those before it', async () => {
    await forSeeds(200, (random) => {
      const pages: StoredPage[] = [];
      for (let at = 0; at < 40; at++) {
        const tenant = random.pick(['a', 'b', 'c']);
        const own = pages.filter((each) => each.tenant === tenant);
        const parent = own.length > 0 && random.chance(0.6) ? random.pick(own).name : 'root';
        pages.push(page(`p${at}`, tenant, random.integer(0, 9), parent));
      }
      const room = random.integer(0, 45);
      const going = new Set(goingOf(pages, room));
      const left = pages.filter(({ name }) => !going.has(name));
      // A share of three may end within a page.
      expect(left.length).toBeLessThanOrEqual(room);
      expect(left.length).toBeGreaterThanOrEqual(Math.min(pages.length, room - 2));
      for (const { parent } of left) expect(going.has(parent ?? '')).toBe(false);
    });
  });
});
