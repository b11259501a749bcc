import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { buildVocabulary } from '../../src/prompt/build-vocabulary.ts';
import { readVocabulary } from '../../src/prompt/vocabulary-format.ts';
import { readDemoFile } from '../support/demo-model.ts';
import { describeWithRealVocabulary } from '../support/describe-real-vocabulary.ts';
import { rejectedBy } from '../support/thrown-by.ts';
import { toBytes, tokenizerJson } from '../support/tokenizer-json.ts';

const PIECES = ['a', 'b', 'c', '\u2581', 'ab', '\u2581\u2581', 'abc', 'bc', 'c\u2581'];

describe('building a vocabulary', () => {
  test('lists no merges when they all follow from the tokens', async () => {
    const fields = readVocabulary(
      await buildVocabulary(toBytes(tokenizerJson({ pieces: PIECES }))),
    );
    expect(fields.followsFromVocabulary).toBe(true);
    expect(fields.merges.length).toBe(0);
  });

  test('lists only the merges before the rising ones', async () => {
    const json = tokenizerJson({ pieces: PIECES });
    const spaces = json.model.merges.filter(([left]) => left === '\u2581');
    const others = json.model.merges.filter(([left]) => left !== '\u2581');
    json.model.merges = [...spaces, ...others];
    const fields = readVocabulary(await buildVocabulary(toBytes(json)));
    expect(fields.followsFromVocabulary).toBe(true);
    const space = json.model.vocab['\u2581'];
    expect([...fields.merges]).toEqual([space, space]);
  });

  test.each([
    ['one is missing', -1],
    ['one comes too early', 0],
  ])('lists all merges when %s', async (_, to) => {
    const json = tokenizerJson({ pieces: PIECES });
    const moved = json.model.merges.splice(2, 1);
    if (to >= 0) json.model.merges.splice(to, 0, ...moved);
    const fields = readVocabulary(await buildVocabulary(toBytes(json)));
    expect(fields.followsFromVocabulary).toBe(false);
    expect(fields.merges.length).toBe(2 * json.model.merges.length);
  });

  test('keeps the SHA-256 of its source', async () => {
    const source = readDemoFile('tokenizer.json');
    const fields = readVocabulary(await buildVocabulary(source));
    const expected = createHash('sha256').update(source).digest('hex');
    expect(Buffer.from(fields.sourceSha256).toString('hex')).toBe(expected);
    expect(fields.followsFromVocabulary).toBe(false);
  });

  test('knows which bytes a token can have before a space', async () => {
    const fields = readVocabulary(
      await buildVocabulary(toBytes(tokenizerJson({ pieces: PIECES }))),
    );
    const joining = [...fields.joinsSpace.entries()].filter(([, joins]) => joins === 1);
    // "c" and the last byte of U+2581 itself.
    expect(joining.map(([byte]) => byte)).toEqual([0x63, 0x81]);
  });

  test('refuses ids with a gap, ids used twice, merges of no token and missing control tokens', async () => {
    const gap = tokenizerJson({ pieces: ['a'] });
    gap.model.vocab['a'] = 999;
    expect((await rejectedBy(buildVocabulary(toBytes(gap)))).message).toContain('none of id 264');

    const twice = tokenizerJson({ pieces: ['a', 'b'] });
    twice.model.vocab['b'] = 264;
    expect((await rejectedBy(buildVocabulary(toBytes(twice)))).message).toContain('share id 264');

    const merge = tokenizerJson({ pieces: ['a', 'b'], merges: [['a', 'b']] });
    const error = await rejectedBy(buildVocabulary(toBytes(merge)));
    expect(error.message).toContain('merge 0 speaks of "ab"');

    const control = tokenizerJson({ pieces: ['a'] });
    control.added_tokens = control.added_tokens.filter((token) => token['id'] !== 5);
    expect((await rejectedBy(buildVocabulary(toBytes(control)))).message).toContain(
      '<end_of_turn>',
    );
  });
});

describeWithRealVocabulary("building Gemma's vocabulary", (files) => {
  test('needs only the 1,396 merges of whitespace to be listed', () => {
    const fields = readVocabulary(readFileSync(files.vocabulary));
    expect(fields.followsFromVocabulary).toBe(true);
    expect(fields.merges.length / 2).toBe(1396);
    expect(fields.lengths.length).toBe(262_145);
  });

  test('takes less than a tenth of the bytes', () => {
    expect(readFileSync(files.vocabulary).length).toBeLessThan(2_600_000);
  });
});
