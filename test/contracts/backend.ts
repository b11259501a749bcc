import { afterEach, describe, expect, it } from 'vitest';
import type { Backend, PrefillChunk } from '../../src/engine/backend.ts';
import { describeBackendKv } from './backend-kv.ts';
import {
  decode,
  expectSame,
  imageChunk,
  largestDifference,
  longLength,
  none,
  prefill,
  requireVision,
  somePixels,
  someTokens,
  textChunk,
} from './backend-steps.ts';

export interface BackendContractOptions {
  /**
   * Largest difference of logits allowed between ways of computing that share no rounding: decode
   * against prefill. Everything else must be equal to the bit. Default 0.
   */
  readonly decodeTolerance?: number;
}

/**
 * What every `Backend` must do. The backend needs at least 3 rows, each two windows and a chunk
 * longer than the alignment of rings (128), a vision tower, and text ids from 9 to 63.
 * @param make opens a fresh backend; the suite closes it
 */
export function describeBackend(
  name: string,
  make: () => Backend | Promise<Backend>,
  options: BackendContractOptions = {},
): void {
  const tolerance = options.decodeTolerance ?? 0;
  describeBackendKv(name, make);

  describe(`backend contract: ${name}`, () => {
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

    it('starts with empty rows and counts what they hold', async () => {
      const backend = await start();
      expect(backend.rowCount).toBeGreaterThanOrEqual(3);
      for (let row = 0; row < backend.rowCount; row++) expect(backend.length(row)).toBe(0);
      await prefill(backend, 1, someTokens(1, 20));
      await decode(backend, [[1, 10]]);
      expect([backend.length(0), backend.length(1), backend.length(2)]).toEqual([0, 21, 0]);
    });

    it('refuses a start that is not the length of the row and leaves the row alone', async () => {
      const backend = await start();
      await prefill(backend, 0, someTokens(1, 20));
      for (const wrong of [0, 19, 21]) {
        const entry = { row: 0, start: wrong, token: 10 };
        await expect(backend.forward({ decode: [entry], chunk: null })).rejects.toThrow();
        const chunk = textChunk(0, wrong, someTokens(2, 4));
        await expect(backend.forward({ decode: [], chunk })).rejects.toThrow();
      }
      expect(backend.length(0)).toBe(20);
    });

    it('refuses chunks and rows out of range', async () => {
      const backend = await start();
      for (const chunk of [
        textChunk(0, 0, new Int32Array(0)),
        textChunk(0, 0, someTokens(1, backend.chunkTokens + 1)),
        textChunk(backend.rowCount, 0, someTokens(1, 4)),
      ]) {
        await expect(backend.forward({ decode: [], chunk })).rejects.toThrow();
      }
      expect(backend.length(0)).toBe(0);
    });

    it('gives a row in a batch the logits it gets alone, idle rows between included', async () => {
      const backend = await start();
      const prompts = [someTokens(1, 9), someTokens(2, 33), someTokens(3, 17)];
      const alone: Float32Array[] = [];
      for (const prompt of prompts) {
        await prefill(backend, 0, prompt);
        const [first = none()] = await decode(backend, [[0, 20]]);
        const [second = none()] = await decode(backend, [[0, 21]]);
        alone.push(first, second);
        backend.truncate(0, 0);
      }
      for (const [row, prompt] of prompts.entries()) await prefill(backend, row, prompt);
      // Row 1 sits idle in the middle of this batch.
      const outer = await decode(backend, [
        [0, 20],
        [2, 20],
      ]);
      const inner = await decode(backend, [[1, 20]]);
      const all = await decode(backend, [
        [0, 21],
        [1, 21],
        [2, 21],
      ]);
      expectSame(outer[0], alone[0]);
      expectSame(outer[1], alone[4]);
      expectSame(inner[0], alone[2]);
      for (const row of [0, 1, 2]) expectSame(all[row], alone[2 * row + 1]);
    });

    it('gives a chunk beside decodes the logits it gets alone', async () => {
      const backend = await start();
      const tokens = someTokens(4, Math.min(12, backend.chunkTokens));
      const alone = await prefill(backend, 0, tokens);
      await prefill(backend, 1, someTokens(5, 15));
      const [decoded] = await decode(backend, [[1, 30]]);
      backend.truncate(0, 0);
      backend.truncate(1, 0);
      await prefill(backend, 1, someTokens(5, 15));
      const entry = { row: 1, start: 15, token: 30 };
      const both = await backend.forward({ decode: [entry], chunk: textChunk(0, 0, tokens) });
      expectSame(both.decode, decoded);
      expectSame(both.chunk, alone);
    });

    it('computes the same however a prompt is cut into chunks, beyond the window too', async () => {
      const backend = await start();
      const { chunkTokens } = backend;
      const tokens = someTokens(6, longLength(backend));
      const expected = await prefill(backend, 0, tokens);
      for (const size of [3, 7, Math.ceil(chunkTokens / 2), chunkTokens - 1]) {
        expectSame(await prefill(backend, 1, tokens, Math.min(size, chunkTokens)), expected);
        backend.truncate(1, 0);
      }
    });

    it('agrees between decoding a text and prefilling it, beyond the window too', async () => {
      const backend = await start();
      const tokens = someTokens(7, longLength(backend));
      const expected = await prefill(backend, 0, tokens);
      await prefill(backend, 1, tokens.subarray(0, 4));
      let last: readonly Float32Array[] = [];
      for (const token of tokens.subarray(4)) last = await decode(backend, [[1, token]]);
      expect(largestDifference(last[0], expected)).toBeLessThanOrEqual(tolerance);
    });

    it('gives logits for all positions, the last or none', async () => {
      const backend = await start();
      const { vocabSize } = backend.config.text;
      const tokens = someTokens(8, 6);
      const ask = async (logits: PrefillChunk['logits']): Promise<Float32Array> => {
        const result = await backend.forward({
          decode: [],
          chunk: { ...textChunk(0, 0, tokens), logits },
        });
        backend.truncate(0, 0);
        return Float32Array.from(result.chunk);
      };
      const all = await ask('all');
      const last = await ask('last');
      expect([all.length, last.length]).toEqual([6 * vocabSize, vocabSize]);
      expect((await ask('none')).length).toBe(0);
      expectSame(last, all.subarray(5 * vocabSize));
      for (const position of [1, 4]) {
        const shorter = await prefill(backend, 0, tokens.subarray(0, position + 1));
        expectSame(all.subarray(position * vocabSize, (position + 1) * vocabSize), shorter);
        backend.truncate(0, 0);
      }
    });

    it('copies a row so that the copy goes on as the original would', async () => {
      const backend = await start();
      const tokens = someTokens(9, longLength(backend));
      const rest = someTokens(10, 8);
      await prefill(backend, 0, tokens);
      await prefill(backend, 2, someTokens(11, 30));
      backend.copyRow(0, 2, tokens.length);
      expect([backend.length(0), backend.length(2)]).toEqual([tokens.length, tokens.length]);
      const [copied] = await decode(backend, [[2, 40]]);
      const continued = await prefill(backend, 2, rest);
      const [original] = await decode(backend, [[0, 40]]);
      expectSame(copied, original);
      expectSame(await prefill(backend, 0, rest), continued);
    });

    it('copies the beginning of a row', async () => {
      const backend = await start();
      const tokens = someTokens(12, 12);
      await prefill(backend, 0, tokens);
      backend.copyRow(0, 1, 8);
      const continued = await prefill(backend, 1, tokens.subarray(8));
      await prefill(backend, 2, tokens.subarray(0, 8));
      expectSame(continued, await prefill(backend, 2, tokens.subarray(8)));
    });

    it('keeps all or nothing of a cut and goes on right from there', async () => {
      const backend = await start();
      const tokens = someTokens(13, longLength(backend));
      const rest = someTokens(14, 8);
      for (const length of [tokens.length, tokens.length - 1, tokens.length >> 1, 10, 2, 0]) {
        await prefill(backend, 0, tokens);
        const kept = backend.truncate(0, length);
        expect([0, length]).toContain(kept);
        expect(backend.length(0)).toBe(kept);
        await prefill(backend, 0, tokens.subarray(kept, length));
        const continued = await prefill(backend, 0, rest);
        await prefill(backend, 1, tokens.subarray(0, length));
        expectSame(continued, await prefill(backend, 1, rest));
        for (const row of [0, 1]) backend.truncate(row, 0);
      }
      // Cuts that stay within the window's reach of the start are always free.
      await prefill(backend, 0, someTokens(15, 12));
      expect(backend.truncate(0, 5)).toBe(5);
      expect(() => backend.truncate(0, 6)).toThrow();
    });

    it('runs an image as one chunk whose tokens see each other both ways', async () => {
      const backend = await start();
      const vision = requireVision(backend);
      const { hiddenSize, vocabSize } = backend.config.text;
      const count = vision.tokensPerImage;
      const pixels = somePixels(1, vision);
      const image = await backend.encodeImages(pixels, 1);
      expect(image.length).toBe(count * hiddenSize);
      const run = async (embedding: Float32Array): Promise<Float32Array> => {
        await prefill(backend, 0, someTokens(16, 5));
        const result = await backend.forward({
          decode: [],
          chunk: { ...imageChunk(0, 5, vision, embedding), logits: 'all' },
        });
        const all = Float32Array.from(result.chunk);
        const after = await prefill(backend, 0, someTokens(17, 4));
        backend.truncate(0, 0);
        return Float32Array.from([...all, ...after]);
      };
      const first = await run(image);
      expectSame(await run(image), first);
      const changed = Float32Array.from(image);
      for (let at = (count - 1) * hiddenSize; at < changed.length; at++) {
        changed[at] = -(changed[at] ?? 0) - 0.5;
      }
      const second = await run(changed);
      // The last soft token changed: the first one sees it, and so does the text behind.
      for (const part of [0, count - 1, count]) {
        const [from, to] = [part * vocabSize, (part + 1) * vocabSize];
        expect(largestDifference(first.subarray(from, to), second.subarray(from, to))).not.toBe(0);
      }
    });

    it('encodes several images as each alone, and stops when told', async () => {
      const backend = await start();
      const vision = requireVision(backend);
      const images = [somePixels(1, vision), somePixels(2, vision)];
      const alone = [];
      for (const pixels of images) alone.push(Array.from(await backend.encodeImages(pixels, 1)));
      expect(alone[0]).not.toEqual(alone[1]);
      const joined = Float32Array.from(images.flatMap((pixels) => Array.from(pixels)));
      const both = await backend.encodeImages(joined, 2);
      expect(largestDifference(both, Float32Array.from(alone.flat()))).toBeLessThanOrEqual(
        tolerance,
      );
      const signal = AbortSignal.abort(new Error('not needed'));
      await expect(backend.encodeImages(images[0] ?? none(), 1, signal)).rejects.toThrow(
        'not needed',
      );
    });

    it('refuses an image run of another length', async () => {
      const backend = await start();
      const vision = requireVision(backend);
      const image = await backend.encodeImages(somePixels(1, vision), 1);
      const good = imageChunk(0, 0, vision, image);
      for (const chunk of [
        { ...good, tokens: good.tokens.subarray(1) },
        { ...good, image: image.subarray(backend.config.text.hiddenSize) },
      ]) {
        await expect(backend.forward({ decode: [], chunk })).rejects.toThrow();
      }
      expect(backend.length(0)).toBe(0);
    });

    it('throws after close, which may be called again', async () => {
      const backend = await start();
      await prefill(backend, 0, someTokens(1, 4));
      const running = backend.forward({ decode: [], chunk: textChunk(1, 0, someTokens(1, 4)) });
      await Promise.all([running, backend.close()]);
      await expect(
        backend.forward({ decode: [], chunk: textChunk(0, 4, someTokens(1, 4)) }),
      ).rejects.toThrow();
      expect(() => backend.truncate(0, 0)).toThrow();
      expect(() => backend.copyRow(0, 1, 0)).toThrow();
      await backend.close();
    });
  });
}
