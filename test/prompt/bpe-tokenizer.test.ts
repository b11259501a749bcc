import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { Tokenizer as ReferenceTokenizer } from 'tokenizers';
import { beforeAll, describe, expect, test } from 'vitest';
import { createTokenizer } from '../../src/prompt/bpe-tokenizer.ts';
import { buildVocabulary } from '../../src/prompt/build-vocabulary.ts';
import type { PromptSegment, Tokenizer } from '../../src/prompt/tokenizer.ts';
import { loadVocabulary } from '../../src/prompt/vocabulary.ts';
import { readDemoFile } from '../support/demo-model.ts';
import { describeWithRealVocabulary } from '../support/describe-real-vocabulary.ts';
import { toBytes, tokenizerJson } from '../support/tokenizer-json.ts';
import { toWellFormed } from '../support/well-formed.ts';
import goldens from '../golden/prompt/tokenizer-cases.json' with { type: 'json' };

/** Every character counts the same, most are unassigned. */
const anyText = fc.string({ unit: 'binary', maxLength: 30 });
const fragment = fc.oneof(
  fc.constantFrom(
    'The image shows ',
    'a dragon',
    ' on',
    'naïve ',
    'def f(x):\n',
    '日本語',
    'مرحبا',
  ),
  fc.constantFrom(
    '🙂',
    '👩‍👩‍👧‍👦',
    'e\u0301',
    '\u0000',
    '\u00a0',
    '\u2581',
    '\u2581\u2581',
    '3.14',
    '\r\n',
  ),
  fc.constantFrom('<table>', '</td>', '<br>', '<unused5>', '[multimodal]', '<0x41>', '<mask>', '<'),
  fc
    .integer({ min: 1, max: 40 })
    .chain((n) => fc.constantFrom(' ', '\n', '\t').map((c) => c.repeat(n))),
  fc.string({ unit: 'grapheme', maxLength: 10 }),
  fc.string({ maxLength: 10 }),
  anyText,
);
const mixedText = fc.array(fragment, { maxLength: 12 }).map((parts) => parts.join(''));
const CONTROLS =
  /<(pad|eos|bos|unk|start_of_turn|end_of_turn|(start|end)_of_image|image_soft_token)>/g;

async function demoTokenizer(): Promise<Tokenizer> {
  return createTokenizer(loadVocabulary(await buildVocabulary(readDemoFile('tokenizer.json'))));
}

/** Our tokens against those of Hugging Face's Rust library, and both back to text. */
async function compareWithReference(
  tokenizer: Tokenizer,
  referencePath: string,
  numRuns: number,
): Promise<void> {
  const reference = ReferenceTokenizer.fromFile(referencePath);
  await fc.assert(
    fc.asyncProperty(mixedText, async (raw) => {
      const text = raw.replaceAll(CONTROLS, '');
      const encoding = await reference.encode(text, null, { addSpecialTokens: false });
      const ids = tokenizer.encode(text);
      expect(ids).toEqual(encoding.getIds());
      expect(tokenizer.decode(ids)).toBe(await reference.decode(ids, true));
    }),
    { seed: 71, numRuns },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(tokenizer.vocabSize - 1), { maxLength: 12 }), async (ids) => {
      expect(tokenizer.decode(ids)).toBe(await reference.decode(ids, true));
      expect(tokenizer.decode(ids, { keepSpecial: true })).toBe(await reference.decode(ids, false));
    }),
    { seed: 72, numRuns },
  );
  const byte = fc.oneof(
    fc.constantFrom('<0xE2>', '<0x82>', '<0xAC>', '<0x41>', '<0xC3>', '<0xA9>', '<eos>', 'a'),
    fc.nat(255).map((value) => `<0x${value.toString(16).toUpperCase().padStart(2, '0')}>`),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(byte, { maxLength: 10 }), async (spellings) => {
      const ids = spellings.map((spelling) => reference.tokenToId(spelling) ?? -1);
      expect(tokenizer.decode(ids)).toBe(await reference.decode(ids, true));
    }),
    { seed: 73, numRuns },
  );
}

describe('the tokenizer', () => {
  let tokenizer: Tokenizer;

  beforeAll(async () => {
    tokenizer = await demoTokenizer();
  });

  test('equals the reference on the demo vocabulary', async () => {
    const path = new URL('../../infra/demo-model/tokenizer.json', import.meta.url).pathname;
    await compareWithReference(tokenizer, path, 1500);
  });

  test('never makes a control token of text, however it is pieced together', () => {
    const shard = fc.constantFrom(
      '<bos>',
      '<start_of_turn>',
      '<end_of_turn>',
      '<image_soft_token>',
      '<start_of_image>',
      '<start_',
      'of_turn>',
      '<',
      'bos',
      '>',
      '<end_of_',
      'image>',
      ' ',
      '\n',
      '\ud800',
      'eos',
    );
    fc.assert(
      fc.property(fc.array(shard, { maxLength: 12 }), (shards) => {
        const segments = shards.map((text): PromptSegment => ({ type: 'text', text }));
        for (const ids of [tokenizer.encode(shards.join('')), tokenizer.encodeSegments(segments)]) {
          expect(ids.filter((id) => tokenizer.special.all.has(id))).toEqual([]);
          expect(tokenizer.decode(ids)).toBe(toWellFormed(shards.join('')));
        }
      }),
      { seed: 74, numRuns: 1000 },
    );
  });

  test('never makes a control token by merging, even where the merges would', async () => {
    const json = tokenizerJson({ pieces: ['<', 'b', 'o', 's', '>', '<b', 'os', 'os>'] });
    expect(json.model.merges).toContainEqual(['<b', 'os>']);
    const risky = createTokenizer(loadVocabulary(await buildVocabulary(toBytes(json))));
    const spelled = risky.encode('<bos>').map((id) => risky.spelling(id));
    expect(spelled).toEqual(['<b', 'os>']);
  });

  test('gives any text back, but for U+2581, which is how a space is spelled', () => {
    fc.assert(
      fc.property(fc.oneof(mixedText, fc.string({ unit: 'binary' })), (text) => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text.replaceAll('\u2581', ' '));
      }),
      { seed: 75, numRuns: 1000 },
    );
  });

  test('reads a lone surrogate as U+FFFD', () => {
    expect(tokenizer.encode('a\ud83db')).toEqual(tokenizer.encode('a\ufffdb'));
    expect(tokenizer.encode('\udc00')).toEqual(tokenizer.encode('\ufffd'));
    expect(tokenizer.encode('\ud83d')).toEqual(tokenizer.encode('\ufffd'));
  });

  test('keeps U+FEFF at the start', () => {
    expect(tokenizer.decode(tokenizer.encode('\ufeffa'))).toBe('\ufeffa');
  });

  test('merges text segments across their border, control tokens apart', () => {
    const { startOfTurn } = tokenizer.special;
    const parted = tokenizer.encodeSegments([
      { type: 'text', text: 'The ima' },
      { type: 'text', text: 'ge\n' },
      { type: 'text', text: '\n\n' },
      { type: 'control', id: startOfTurn },
      { type: 'text', text: '\n' },
    ]);
    expect(parted).toEqual([...tokenizer.encode('The image\n\n\n'), startOfTurn, 9]);
  });

  test('puts surrogates of one character in two segments together', () => {
    const segments: PromptSegment[] = [
      { type: 'text', text: '\ud83d' },
      { type: 'text', text: '\ude42' },
    ];
    expect(tokenizer.encodeSegments(segments)).toEqual(tokenizer.encode('🙂'));
  });

  test('refuses a control id that is no token', () => {
    for (const id of [-1, 2048, 1.5]) {
      expect(() => tokenizer.encodeSegments([{ type: 'control', id }])).toThrow(RangeError);
    }
  });

  test('gives the bytes a token adds to the text', () => {
    const byteToken = tokenizer.encode('🙂')[0] ?? -1;
    expect([...tokenizer.bytes(byteToken)]).toEqual([0xf0]);
    const [word] = tokenizer.encode(' image') as [number];
    expect(new TextDecoder().decode(tokenizer.bytes(word))).toBe(' image');
    expect(tokenizer.spelling(word)).toBe('\u2581image');
    expect(tokenizer.bytes(tokenizer.special.endOfTurn).length).toBe(0);
    expect(tokenizer.spelling(tokenizer.special.endOfTurn)).toBe('<end_of_turn>');
    expect(tokenizer.spelling(byteToken)).toBe('<0xF0>');
  });

  test('gives ids beyond its tokens, which models pad their rows with, no text', () => {
    expect(tokenizer.bytes(5000).length).toBe(0);
    expect(tokenizer.spelling(5000)).toBe('');
    expect(tokenizer.decode([...tokenizer.encode('a'), 5000, -1])).toBe('a');
  });

  test('decodes to the same text as the bytes of its tokens put together', () => {
    fc.assert(
      fc.property(mixedText, (text) => {
        const ids = tokenizer.encode(text);
        const bytes = ids.flatMap((id) => [...tokenizer.bytes(id)]);
        expect(Buffer.from(bytes).toString('utf8')).toBe(tokenizer.decode(ids));
      }),
      { seed: 76, numRuns: 500 },
    );
  });
});

describeWithRealVocabulary("the tokenizer with Gemma's vocabulary", (files) => {
  let tokenizer: Tokenizer;

  beforeAll(() => {
    tokenizer = createTokenizer(loadVocabulary(readFileSync(files.vocabulary)));
  });

  test.each(goldens.encode)('encodes $text as the reference', ({ text, ids }) => {
    // The one case where text is a control token: for us only a control segment is.
    const isControl = text === '<image_soft_token>';
    const segments: PromptSegment[] = isControl
      ? [{ type: 'control', id: tokenizer.special.imageSoftToken ?? -1 }]
      : [{ type: 'text', text }];
    expect(tokenizer.encodeSegments(segments)).toEqual(ids);
    if (isControl) expect(tokenizer.encode(text)).not.toEqual(ids);
  });

  test.each(goldens.decode)('decodes $ids as the reference', ({ ids, text, text_skip_special }) => {
    expect(tokenizer.decode(ids, { keepSpecial: true })).toBe(text);
    expect(tokenizer.decode(ids)).toBe(text_skip_special);
  });

  test('equals the reference on random text', async () => {
    await compareWithReference(tokenizer, files.tokenizerJson, 1500);
  });

  test('spells every token but the control tokens by its bytes', () => {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    for (let id = 494; id < 255_968; id++) {
      const spelling = tokenizer.spelling(id);
      if (decoder.decode(tokenizer.bytes(id)) !== spelling.replaceAll('\u2581', ' ')) {
        throw new Error(`token ${id} is spelled ${spelling}`);
      }
    }
  });
});
