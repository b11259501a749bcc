import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { buildVocabulary } from '../../src/prompt/build-vocabulary.ts';
import { loadVocabulary } from '../../src/prompt/vocabulary.ts';
import { readVocabulary, writeVocabulary } from '../../src/prompt/vocabulary-format.ts';
import { describeWithRealVocabulary } from '../support/describe-real-vocabulary.ts';
import { thrownBy } from '../support/thrown-by.ts';
import { FIRST_PIECE, toBytes, tokenizerJson } from '../support/tokenizer-json.ts';

const json = tokenizerJson({ pieces: ['a', 'b', '\n', 'ab', 'ba', 'aba'], added: ['\n'] });

describe('a loaded vocabulary', () => {
  test('knows control tokens, added tokens and byte tokens', async () => {
    const vocabulary = loadVocabulary(await buildVocabulary(toBytes(json)));
    expect(vocabulary.special).toMatchObject({ bos: 2, eos: 1, pad: 0, unknown: 3 });
    expect(vocabulary.special).toMatchObject({ startOfTurn: 4, endOfTurn: 5, startOfImage: 6 });
    expect(vocabulary.special.imageSoftToken).toBe(FIRST_PIECE + 6);
    expect(vocabulary.special.all.size).toBe(9);
    expect(vocabulary.addedIds).toEqual([FIRST_PIECE + 2]);
    expect(vocabulary.byteIds[0x41]).toBe(8 + 0x41);
    expect(vocabulary.byteValues[8 + 0x41]).toBe(0x41);
    expect(vocabulary.byteValues[FIRST_PIECE]).toBe(-1);
  });

  test('ranks merges by token, then the longest left part first', async () => {
    const vocabulary = loadVocabulary(await buildVocabulary(toBytes(json)));
    const [a, b, ab, ba, aba] = [0, 1, 3, 4, 5].map((k) => FIRST_PIECE + k) as [
      number,
      number,
      number,
      number,
      number,
    ];
    const ranks = [
      vocabulary.mergeRank(ab, a, b, 1),
      vocabulary.mergeRank(ba, b, a, 1),
      vocabulary.mergeRank(aba, ab, a, 2),
      vocabulary.mergeRank(aba, a, ba, 1),
    ];
    expect(ranks).toEqual(ranks.toSorted((x, y) => x - y));
    expect(new Set(ranks).size).toBe(4);
  });

  test('is refused when its spellings do not fill its text', async () => {
    const fields = readVocabulary(await buildVocabulary(toBytes(json)));
    const lengths = fields.lengths.slice();
    lengths[20] = 7;
    const error = thrownBy(() => loadVocabulary(writeVocabulary({ ...fields, lengths })));
    expect(error.code).toBe('invalid_checkpoint');
    expect(error.message).toContain('its spellings take');
  });

  test('is refused without all byte tokens', async () => {
    const fields = readVocabulary(await buildVocabulary(toBytes(json)));
    const text = fields.text.slice();
    const zero = new TextDecoder().decode(text).indexOf('<0x41>');
    text[zero + 3] = 0x58;
    const error = thrownBy(() => loadVocabulary(writeVocabulary({ ...fields, text })));
    expect(error.message).toContain('<0x41>');
  });
});

describeWithRealVocabulary("Gemma's vocabulary", (files) => {
  test('has the ids the specification names', () => {
    const vocabulary = loadVocabulary(readFileSync(files.vocabulary));
    expect(vocabulary.tokenCount).toBe(262_145);
    expect(vocabulary.sourceSha256).toMatch(/^4667f208/);
    expect(vocabulary.special).toMatchObject({
      bos: 2,
      eos: 1,
      pad: 0,
      unknown: 3,
      startOfTurn: 105,
      endOfTurn: 106,
      startOfImage: 255_999,
      endOfImage: 256_000,
      imageSoftToken: 262_144,
    });
    expect(vocabulary.special.all.size).toBe(9);
    expect(vocabulary.addedIds.length).toBe(6415 - 9);
    expect(vocabulary.byteIds[0]).toBe(238);
    expect(vocabulary.byteIds[255]).toBe(493);
  });
});
