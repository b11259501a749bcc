import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type BpeEncoder, createBpeEncoder } from '../../src/prompt/bpe.ts';
import { buildVocabulary } from '../../src/prompt/build-vocabulary.ts';
import { loadVocabulary } from '../../src/prompt/vocabulary.ts';
import { readDemoFile, readDemoJson } from '../support/demo-model.ts';
import { naiveBpe } from '../support/naive-bpe.ts';
import { toBytes, tokenizerJson, type TokenizerJsonParts } from '../support/tokenizer-json.ts';

const encoder = new TextEncoder();

/** z is no piece alone, so merges never reach the pieces with it; é and 🙂 are bytes too. */
const LETTERS = ['a', 'b', 'c', '\u2581'] as const;
const letter = fc.constantFrom(...LETTERS, 'z');
const unit = fc.constantFrom('a', 'b', 'c', 'z', ' ', 'é', '🙂');
const text = fc.string({ unit, maxLength: 40 });
const pieces = fc.uniqueArray(fc.string({ unit: letter, minLength: 2, maxLength: 6 }), {
  minLength: 1,
  maxLength: 25,
});

async function bpeOf(json: TokenizerJsonParts): Promise<BpeEncoder> {
  return createBpeEncoder(loadVocabulary(await buildVocabulary(toBytes(json))));
}

function encode(bpe: BpeEncoder, input: string): number[] {
  const bytes = encoder.encode(input);
  const ids: number[] = [];
  bpe.encode(bytes, 0, bytes.length, ids);
  return ids;
}

describe('byte-pair encoding', () => {
  test('equals the definition where the merges follow from the vocabulary', async () => {
    await fc.assert(
      fc.asyncProperty(pieces, fc.array(text, { maxLength: 20 }), async (long, texts) => {
        const json = tokenizerJson({ pieces: [...LETTERS, ...long] });
        const bpe = await bpeOf(json);
        for (const input of texts) expect(encode(bpe, input)).toEqual(naiveBpe(json, input));
      }),
      { seed: 61, numRuns: 150 },
    );
  });

  test('equals the definition for merges in any order', async () => {
    await fc.assert(
      fc.asyncProperty(
        pieces,
        fc.infiniteStream(fc.nat()),
        fc.array(text, { maxLength: 20 }),
        async (long, order, texts) => {
          const json = tokenizerJson({ pieces: [...LETTERS, ...long, 'é'] });
          json.model.merges = json.model.merges
            .map((pair) => ({ pair, at: Number(order.next().value) }))
            .toSorted((a, b) => a.at - b.at)
            .map(({ pair }) => pair);
          const bpe = await bpeOf(json);
          for (const input of texts) expect(encode(bpe, input)).toEqual(naiveBpe(json, input));
        },
      ),
      { seed: 62, numRuns: 150 },
    );
  });

  test('equals the definition on the demo vocabulary', async () => {
    const json = readDemoJson('tokenizer.json') as TokenizerJsonParts;
    const bpe = createBpeEncoder(
      loadVocabulary(await buildVocabulary(readDemoFile('tokenizer.json'))),
    );
    const words = fc.constantFrom(
      'The image shows ',
      'background',
      'a',
      ' ',
      'dragon',
      '…',
      'ß',
      '"',
    );
    fc.assert(
      fc.property(fc.array(words, { maxLength: 12 }), (list) => {
        const input = list.join('');
        expect(encode(bpe, input)).toEqual(naiveBpe(json, input));
      }),
      { seed: 63, numRuns: 300 },
    );
  });

  test('encodes part of a buffer as if it were alone, and appends', async () => {
    const json = tokenizerJson({ pieces: ['a', 'b', 'ab', '\u2581', '\u2581a'] });
    const bpe = await bpeOf(json);
    const ids = [7];
    bpe.encode(encoder.encode('ab ab'), 1, 4, ids);
    expect(ids).toEqual([7, ...naiveBpe(json, 'b a')]);
  });

  // A quadratic loop takes minutes on these; the time limit of a test is what catches it.
  test.each([
    ['one letter', 'a'.repeat(1_000_000)],
    ['no space', 'abcba'.repeat(200_000)],
    ['only spaces', ' '.repeat(1_000_000)],
    ['only unknown characters', '🙂'.repeat(250_000)],
  ])('stays fast on a megabyte of %s', async (_, input) => {
    const powers = ['aa', 'aaaa', 'aaaaaaaa', 'ab', 'cba', 'abc', 'abcba', 'bc'];
    const bpe = await bpeOf(tokenizerJson({ pieces: [...LETTERS, ...powers, '\u2581\u2581'] }));
    const ids = encode(bpe, input);
    const start = encode(bpe, input.slice(0, 8 * 5 * 4));
    expect(ids.slice(0, start.length - 8)).toEqual(start.slice(0, -8));
    expect(ids.length).toBeGreaterThan(100_000);
  });

  test('is none the worse for a long text before', async () => {
    const json = tokenizerJson({ pieces: [...LETTERS, 'ab', 'abc', '\u2581a'] });
    const bpe = await bpeOf(json);
    encode(bpe, 'abc'.repeat(60_000));
    expect(encode(bpe, 'abc ab')).toEqual(naiveBpe(json, 'abc ab'));
  });
});
