import { afterEach, describe, expect, it } from 'vitest';
import type { Backend, KvPage } from '../../src/engine/backend.ts';
import {
  decode,
  expectSame,
  fillBeyondRing,
  goOn,
  prefill,
  readPages,
  someTokens,
  textChunk,
} from './backend-steps.ts';

/** Sizes of pages that fit no block of any kernel or ring. */
const ODD_SIZES = [5, 37, 1, 64, 111];

/** What every `Backend` must do with rows as a whole; called by `describeBackend`. */
export function describeBackendKv(name: string, make: () => Backend | Promise<Backend>): void {
  describe(`backend contract, rows and pages: ${name}`, () => {
    let open: Backend[] = [];
    const start = async (): Promise<Backend> => {
      const backend = await make();
      open.push(backend);
      return backend;
    };
    afterEach(async () => {
      for (const backend of open) await backend.close();
      open = [];
    });

    it('restores a row to the bit, in another row and in another backend', async () => {
      const backend = await start();
      const other = await start();
      const { windowTokens } = backend.config.text;
      const long = (await fillBeyondRing(backend, 0, 1)).length;
      // Something to restore over.
      await prefill(other, 1, someTokens(2, 50));
      for (const length of [3, windowTokens - 1, windowTokens, windowTokens + 1, long]) {
        backend.truncate(0, 0);
        await prefill(backend, 0, someTokens(3, length));
        const pages = await readPages(backend, 0, length, ODD_SIZES);
        const expected = await goOn(backend, 0);
        await backend.writeKv(2, pages, length, 0);
        expect(backend.length(2)).toBe(length);
        expectSame(await goOn(backend, 2), expected);
        await other.writeKv(1, pages, length, 0);
        expectSame(await goOn(other, 1), expected);
      }
    });

    it('restores any length from pages read while the row grew', async () => {
      const backend = await start();
      const { windowTokens } = backend.config.text;
      const pages: KvPage[] = [];
      const step = Math.min(29, backend.chunkTokens);
      const long = (await fillBeyondRing(backend, 0, 1)).length + windowTokens;
      const tokens = someTokens(4, long);
      backend.truncate(0, 0);
      for (let from = 0; from < long;) {
        const to = Math.min(long, from + step);
        await prefill(backend, 0, tokens.subarray(from, to));
        pages.push(await backend.readKv(0, from, to));
        from = to;
      }
      for (const length of [20, windowTokens + 4, long - windowTokens, long - 1]) {
        await prefill(backend, 1, tokens.subarray(0, length));
        const expected = await goOn(backend, 1);
        // The last page goes on behind the length; those after it are not needed.
        const needed = pages.filter((page) => page.start < length);
        await backend.writeKv(2, needed, length, 0);
        expectSame(await goOn(backend, 2), expected);
        backend.truncate(1, 0);
      }
    });

    it('keeps the beginning of the row itself where told', async () => {
      const backend = await start();
      const tokens = await fillBeyondRing(backend, 0, 5);
      const { length } = tokens;
      backend.copyRow(0, 1, length);
      const expected = await goOn(backend, 1);
      for (const [keep, from] of [
        [40, 40],
        [40, 13],
        [3, 0],
      ] as const) {
        backend.truncate(1, 0);
        await prefill(backend, 1, tokens.subarray(0, keep));
        await prefill(backend, 1, someTokens(6, 25));
        const pages = [await backend.readKv(0, keep, length)];
        if (from < keep) {
          const unused = await backend.readKv(0, from, keep);
          unused.global.fill(0x55);
          pages.unshift(unused);
        }
        await backend.writeKv(1, pages, length, keep);
        expectSame(await goOn(backend, 1), expected);
      }
    });

    it('goes back to a length whose window is gone, with pages for the window only', async () => {
      const backend = await start();
      const { windowTokens } = backend.config.text;
      const length = 2 * windowTokens;
      await prefill(backend, 0, someTokens(7, length));
      const page = await backend.readKv(0, windowTokens + 1, length);
      backend.copyRow(0, 1, length);
      const expected = await goOn(backend, 1);
      await goOn(backend, 0);
      while (backend.canCut(0, length)) await prefill(backend, 0, someTokens(8, 3));
      await backend.writeKv(0, [page], length, length);
      expectSame(await goOn(backend, 0), expected);
    });

    it('refuses pages that do not hold what is needed, and leaves the row empty', async () => {
      const backend = await start();
      const { windowTokens } = backend.config.text;
      const tokens = await fillBeyondRing(backend, 0, 9);
      const { length } = tokens;
      const pages = await readPages(backend, 0, length, [5]);
      const [first, beforeLast, last] = [pages[0], ...pages.slice(-2)] as [KvPage, KvPage, KvPage];
      expect(first.local.length).toBe(0);
      const short = { ...last, global: last.global.subarray(1) };
      const thin = { ...last, localStart: last.start + 1 };
      const expected = await prefill(backend, 1, someTokens(10, 12));
      const held = backend.length(1);
      const wrong: readonly (readonly [readonly KvPage[], number, number])[] = [
        [pages.toSpliced(1, 1), length, 0],
        [pages.toReversed(), length, 0],
        [pages.slice(1), length, 0],
        [pages.slice(3), length, held],
        [pages.slice(0, -1), length, 0],
        [[], length, 0],
        // Their local part is gone.
        [[first], 5, 0],
        [pages, windowTokens, 0],
        [[...pages.slice(0, -2), withoutLocal(beforeLast), last], length, 0],
        // Not from this backend.
        [[...pages.slice(0, -1), short], length, 0],
        [[...pages.slice(0, -1), thin], length, 0],
        [[...pages.slice(0, -1), { ...last, count: 0 }], length, 0],
        // No such lengths.
        [pages, length, held + 1],
        [pages, length, -1],
        [[], 3, 4],
        [pages, backend.rowTokens + 1, 0],
        [pages, -1, 0],
        [pages, 2.5, 0],
      ];
      for (const [index, [given, to, keep]] of wrong.entries()) {
        const write = backend.writeKv(1, given, to, keep);
        await expect(write, `case ${index}`).rejects.toThrow(RangeError);
        expect(backend.length(1), `case ${index}`).toBe(0);
        expectSame(await prefill(backend, 1, someTokens(10, 12)), expected);
      }
      await expect(backend.writeKv(backend.rowCount, pages, length, 0)).rejects.toThrow(RangeError);
      await backend.writeKv(1, [], 0, 0);
      expect(backend.length(1)).toBe(0);
      expect(backend.length(0)).toBe(length);
    });

    it('tells where a row can be cut, restored rows included', async () => {
      const backend = await start();
      const { windowTokens } = backend.config.text;
      const tokens = await fillBeyondRing(backend, 0, 11);
      // Pages that hold just the window on local layers.
      const windowStart = tokens.length - windowTokens + 1;
      const pages = [
        withoutLocal(await backend.readKv(0, 0, windowStart)),
        await backend.readKv(0, windowStart, tokens.length),
      ];
      await backend.writeKv(1, pages, tokens.length, 0);
      expect(backend.canCut(1, tokens.length)).toBe(true);
      expect(backend.canCut(1, tokens.length - 1)).toBe(false);
      const checkCuts = (row: number): void => {
        const length = backend.length(row);
        expect(backend.canCut(row, 0)).toBe(true);
        expect(backend.canCut(row, length)).toBe(true);
        for (let cut = length; cut >= 0; cut -= cut > length - 6 ? 1 : 7) {
          const canCut = backend.canCut(row, cut);
          backend.copyRow(row, 2, length);
          if (canCut) backend.copyRow(row, 2, cut);
          else expect(() => backend.copyRow(row, 2, cut)).toThrow(RangeError);
          expect(backend.length(2)).toBe(canCut ? cut : length);
          backend.copyRow(row, 2, length);
          expect(backend.truncate(2, cut)).toBe(canCut ? cut : 0);
        }
        expect(() => backend.canCut(row, length + 1)).toThrow(RangeError);
      };
      const decodeBoth = (): Promise<unknown> =>
        decode(backend, [
          [0, 30],
          [1, 30],
        ]);
      for (const row of [0, 1]) checkCuts(row);
      for (let steps = 0; steps < 2; steps++) await decodeBoth();
      expect(backend.truncate(0, tokens.length)).toBe(tokens.length);
      // A copy onto itself is a cut, too.
      backend.copyRow(1, 1, tokens.length);
      backend.copyRow(0, 2, tokens.length);
      const expected = await goOn(backend, 2);
      backend.copyRow(1, 2, tokens.length);
      expectSame(await goOn(backend, 2), expected);
      for (let steps = 0; steps < 20; steps++) await decodeBoth();
      for (const row of [0, 1]) checkCuts(row);
    });

    it('exchanges rows, empty ones too', async () => {
      const backend = await start();
      const long = await fillBeyondRing(backend, 0, 12);
      const short = someTokens(13, 21);
      await prefill(backend, 1, short);
      const expectedShort = await goOn(backend, 1);
      backend.copyRow(0, 1, long.length);
      const expectedLong = await goOn(backend, 1);
      backend.truncate(1, 0);
      await prefill(backend, 1, short);
      backend.swapRows(0, 1);
      backend.swapRows(2, 1);
      backend.swapRows(2, 2);
      expect([0, 1, 2].map((row) => backend.length(row))).toEqual([short.length, 0, long.length]);
      expect(backend.canCut(2, 5)).toBe(false);
      await prefill(backend, 1, short);
      expectSame(await goOn(backend, 2), expectedLong);
      expectSame(await goOn(backend, 1), expectedShort);
      expectSame(await goOn(backend, 0), expectedShort);
      expect(() => backend.swapRows(0, backend.rowCount)).toThrow(RangeError);
      expect(() => backend.swapRows(-1, 0)).toThrow(RangeError);
    });

    it('reads pages that stay as they are, with what the local layers still hold', async () => {
      const backend = await start();
      const { kvTokenBytes } = backend;
      const { windowTokens } = backend.config.text;
      const { length } = await fillBeyondRing(backend, 0, 14);
      let firstLocal = length - windowTokens + 1;
      while (backend.canCut(0, firstLocal + windowTokens - 2)) firstLocal--;
      for (const [from, to, localStart] of [
        [0, length, firstLocal],
        [firstLocal - 1, firstLocal + 2, firstLocal],
        [firstLocal + 3, length, firstLocal + 3],
        [0, firstLocal, firstLocal],
        [0, 1, 1],
      ] as const) {
        const page = await backend.readKv(0, from, to);
        expect(page).toMatchObject({ start: from, count: to - from, localStart });
        expect(page.global.length).toBe((to - from) * kvTokenBytes.global);
        expect(page.local.length).toBe((to - localStart) * kvTokenBytes.local);
      }
      const page = await backend.readKv(0, 0, length);
      const before = { global: page.global.slice(), local: page.local.slice() };
      backend.truncate(0, 0);
      await prefill(backend, 0, someTokens(15, 60));
      expect(isSame(page.global, before.global) && isSame(page.local, before.local)).toBe(true);
      for (const [from, to] of [
        [0, 61],
        [5, 5],
        [6, 5],
        [-1, 5],
        [0.5, 5],
      ] as const) {
        await expect(backend.readKv(0, from, to)).rejects.toThrow(RangeError);
      }
      await expect(backend.readKv(1, 0, 1)).rejects.toThrow(RangeError);
    });

    it('leaves rows alone while a step or a page is under way', async () => {
      const backend = await start();
      const tokens = someTokens(16, 20);
      await prefill(backend, 0, tokens);
      await prefill(backend, 1, tokens);
      const page = await backend.readKv(0, 0, 20);
      const step = { decode: [], chunk: textChunk(0, 20, someTokens(17, 5)) };
      const begin = [
        () => backend.forward(step),
        () => backend.readKv(1, 0, 20),
        () => backend.writeKv(2, [page], 20, 0),
      ];
      for (const first of begin) {
        const running = first();
        const refused = begin.map(async (second) => second());
        expect(() => backend.truncate(1, 0)).toThrow(TypeError);
        expect(() => backend.copyRow(1, 2, 5)).toThrow(TypeError);
        expect(() => backend.swapRows(1, 2)).toThrow(TypeError);
        for (const { reason } of (await Promise.allSettled(refused)) as PromiseRejectedResult[]) {
          expect(reason).toBeInstanceOf(TypeError);
        }
        await running;
      }
      expect([0, 1, 2].map((row) => backend.length(row))).toEqual([25, 20, 20]);
      expectSame(await goOn(backend, 1), await goOn(backend, 2));
    });

    it('finishes a page under way before it closes, and moves none after', async () => {
      const backend = await start();
      await prefill(backend, 0, someTokens(18, 20));
      const reading = backend.readKv(0, 0, 20);
      const [page] = await Promise.all([reading, backend.close()]);
      expect(page.count).toBe(20);
      await expect(backend.readKv(0, 0, 20)).rejects.toThrow('closed');
      await expect(backend.writeKv(0, [page], 20, 0)).rejects.toThrow('closed');
      expect(() => backend.swapRows(0, 1)).toThrow('closed');
    });
  });
}

/** Matchers take seconds over millions of bytes. */
function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

function withoutLocal(page: KvPage): KvPage {
  return { ...page, localStart: page.start + page.count, local: new Uint8Array(0) };
}
