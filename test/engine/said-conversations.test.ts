import * as fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { PreparedPrompt } from '../../src/engine/engine.ts';
import { createSaidMemory, type SaidMemory } from '../../src/engine/said.ts';
import { tokenBytesOf } from '../../src/engine-completer.ts';
import { trimWhitespace } from '../../src/lib/trim-whitespace.ts';
import { parseModelConfig } from '../../src/model/parse-config.ts';
import { createTokenizer } from '../../src/prompt/bpe-tokenizer.ts';
import { buildVocabulary } from '../../src/prompt/build-vocabulary.ts';
import type { ChatMessage } from '../../src/prompt/messages.ts';
import { createPreparer } from '../../src/prompt/prepare.ts';
import type { Tokenizer } from '../../src/prompt/tokenizer.ts';
import { loadVocabulary } from '../../src/prompt/vocabulary.ts';
import { imagePart, say } from '../support/conversations.ts';
import { readDemoFile, readDemoJson } from '../support/demo-model.ts';
import { testImage } from '../support/engine-harness.ts';
import { createSeededRandom, forSeeds, type SeededRandom } from '../support/seeded-random.ts';

describe("what is said in conversations of the demo model's tokenizer", () => {
  const model = parseModelConfig(readDemoJson('config.json'));
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    const vocabulary = await buildVocabulary(readDemoFile('tokenizer.json'));
    tokenizer = createTokenizer(loadVocabulary(vocabulary));
  });

  function demoMemory(): SaidMemory {
    const tokensPerImage = model.vision?.tokensPerImage ?? 0;
    return createSaidMemory({
      maxTokens: 2 ** 20,
      tokens: tokenBytesOf(tokenizer, model),
      tokensPerImage,
    });
  }

  async function prepare(
    messages: readonly ChatMessage[],
    options: { scope?: string; isOpen?: boolean } = {},
  ): Promise<PreparedPrompt> {
    const { scope = '', isOpen = false } = options;
    const preparer = createPreparer({
      tokenizer,
      model,
      contextTokens: 100_000,
      loadImage: async ({ param }) => [testImage(Number(param), model.vision?.imageSize)],
    });
    const prepared = await preparer.prepare({
      type: 'chat',
      messages,
      strict: false,
      addGenerationPrompt: !isOpen,
      continueFinalMessage: isOpen,
    });
    return { ...prepared, scope };
  }

  const UNITS = [
    'The cat',
    ' sat',
    ' on',
    ' it.',
    '\n\n',
    '\n',
    '  ',
    ' ',
    'é',
    '世界',
    '👋🏽',
    '\u200b',
    '**x**',
  ];

  /** Some text, encoded in pieces as a model may sample it; whitespace ends are tokens of their own. */
  function sample(random: SeededRandom): number[] {
    const pieces = Array.from({ length: random.integer(1, 12) }, () => random.pick(UNITS));
    return pieces.flatMap((piece) => {
      const points = Array.from(piece);
      const cut = random.integer(0, points.length);
      return [points.slice(0, cut), points.slice(cut)].flatMap((part) =>
        tokenizer.encode(part.join('')),
      );
    });
  }

  it('every next turn begins with the ids of the one before and what was said', async () => {
    let remembered = 0;
    let different = 0;
    await forSeeds(60, async (random) => {
      const kept = demoMemory();
      const messages: ChatMessage[] = [];
      let expected: number[] = [];
      for (let turn = 0; turn < 4; turn++) {
        const parts = random.chance(0.3) ? [imagePart(String(random.integer(1, 3)))] : [];
        messages.push(say('user', ...parts, `Question ${random.integer(1, 9)} `));
        const prepared = await prepare(messages);
        const resolved = kept.resolve(prepared);
        expect(Array.from(resolved.tokens.subarray(0, expected.length))).toEqual(expected);
        expect(tokenizer.decode(Array.from(resolved.tokens))).toBe(
          tokenizer.decode(Array.from(prepared.tokens)),
        );
        for (const { position } of resolved.images) {
          expect(resolved.tokens[position - 1]).toBe(model.vision?.beginImageId);
          expect(resolved.tokens[position]).toBe(model.vision?.imageTokenId);
        }
        const said = sample(random);
        const text = tokenizer.decode(said);
        const before = kept.size.texts;
        kept.remember(resolved, said, new TextEncoder().encode(text).length);
        messages.push(say('assistant', text));
        expected = Array.from(resolved.tokens);
        const isKept = kept.size.texts > before;
        expect(isKept).toBe(hasCleanEnds(said));
        if (!isKept) continue;
        remembered++;
        const trimmed = trimWhitespace(text);
        if (tokenizer.encode(trimmed).join() !== said.join()) different++;
        expected.push(...withoutWhitespace(said));
      }
    });
    expect(remembered).toBeGreaterThan(100);
    expect(different).toBeGreaterThan(50);
  });

  function isBlank(id: number): boolean {
    return trimWhitespace(tokenizer.decode([id])) === '';
  }

  function withoutWhitespace(said: readonly number[]): number[] {
    const first = said.findIndex((id) => !isBlank(id));
    return said.slice(first, said.findLastIndex((id) => !isBlank(id)) + 1);
  }

  /** Whether the answer begins and ends with tokens that no trimming would cut. */
  function hasCleanEnds(said: readonly number[]): boolean {
    const text = tokenizer.decode(withoutWhitespace(said));
    return said.some((id) => !isBlank(id)) && trimWhitespace(text) === text;
  }

  it('a text, a scope or a picture that differs by anything resolves to nothing', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 2 ** 31 }), async (seed) => {
        const random = createSeededRandom(seed);
        const kept = demoMemory();
        const said = [...tokenizer.encode('Yes'), ...sample(random), ...tokenizer.encode('no.')];
        const text = tokenizer.decode(said);
        const question = say('user', imagePart('1'), 'Is it?');
        const first = await prepare([question], { scope: 'a' });
        kept.remember(first, said, new TextEncoder().encode(text).length);
        expect(kept.size.texts).toBe(1);
        const follow = say('user', 'Why?');
        const scope = 'a';
        const wanted = [...first.tokens, ...said];
        const isResumed = async (answer: string): Promise<boolean> => {
          const asked = await prepare([question, say('assistant', answer), follow], { scope });
          return kept.resolve(asked).tokens.subarray(0, wanted.length).join() === wanted.join();
        };
        expect(await isResumed(` ${text}\n`)).toBe(true);
        const at = random.integer(1, text.length - 2);
        const changed = `${text.slice(0, at)}q${text.slice(at + 1)}`;
        expect(await isResumed(changed)).toBe(false);
        const same = say('assistant', text);
        const asOther = await prepare([question, same, follow], { scope: 'b' });
        expect(kept.resolve(asOther)).toBe(asOther);
        const other = await prepare([say('user', imagePart('2'), 'Is it?'), same, follow], {
          scope,
        });
        expect(kept.resolve(other)).toBe(other);
        const open = kept.resolve(await prepare([question, same], { scope, isOpen: true }));
        expect(Array.from(open.tokens)).toEqual(wanted);
      }),
      { seed: 93, numRuns: 60 },
    );
  });
});
