import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { fakeModelConfig } from '../../adapters/fake/config.ts';
import type { PromptInput } from '../../src/completer.ts';
import { trimWhitespace } from '../../src/lib/trim-whitespace.ts';
import type { ModelConfig } from '../../src/model/config.ts';
import { parseModelConfig } from '../../src/model/parse-config.ts';
import { createTokenizer } from '../../src/prompt/bpe-tokenizer.ts';
import { buildVocabulary } from '../../src/prompt/build-vocabulary.ts';
import type { ChatMessage } from '../../src/prompt/messages.ts';
import { createPreparer } from '../../src/prompt/prepare.ts';
import type { Tokenizer } from '../../src/prompt/tokenizer.ts';
import { loadVocabulary } from '../../src/prompt/vocabulary.ts';
import { createByteTokenizer } from '../support/byte-tokenizer.ts';
import { imagePart, say } from '../support/conversations.ts';
import { readDemoFile, readDemoJson } from '../support/demo-model.ts';
import { describeWithRealVocabulary } from '../support/describe-real-vocabulary.ts';
import { toBytes, tokenizerJson } from '../support/tokenizer-json.ts';

type ChatInput = Extract<PromptInput, { type: 'chat' }>;

/** Pieces that merge, that trimming takes or leaves, that spell control tokens, that are no text. */
const unit = fc.oneof(
  fc.constantFrom(
    'a',
    'b',
    ' ',
    '.',
    ',',
    '\n',
    '\t',
    'The',
    ' answer',
    '\n\n',
    '  ',
    '42',
    'é',
    '世界',
    '👋🏽',
    '\u0301',
  ),
  fc.constantFrom('\u2581', '\u2581\u2581', '\u200b', '\ufeff', '\x85', '\ud83d', '\udc4b', '\0'),
  fc.constantFrom('<end_of_turn>', '<start_of_turn>', 'model\n', '<image_soft_token>', '<unused3>'),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 3 }),
);
const text = fc.array(unit, { maxLength: 12 }).map((units) => units.join(''));
const textPart = text.map((value) => ({ type: 'text', text: value }) as const);
const userPart = fc.oneof(
  { weight: 5, arbitrary: textPart },
  { weight: 1, arbitrary: fc.constant(imagePart()) },
);
const user: fc.Arbitrary<ChatMessage> = fc
  .array(userPart, { minLength: 1, maxLength: 3 })
  .map((parts) => ({ role: 'user', parts }));
const assistant: fc.Arbitrary<ChatMessage> = fc
  .array(textPart, { minLength: 1, maxLength: 2 })
  .map((parts) => ({ role: 'assistant', parts }));
const system = text.map((value) => say('system', value));
const anyOrder = fc.array(fc.oneof(user, assistant, system), {
  minLength: 1,
  maxLength: 7,
});
const alternating = fc
  .tuple(fc.option(system), fc.array(fc.tuple(user, assistant), { minLength: 1, maxLength: 4 }))
  .map(([first, turns]) => [...(first === null ? [] : [first]), ...turns.flat()]);

/** What the assistant says alone in its turn, by the rule instead of by the template. */
function textsOf(messages: readonly ChatMessage[]): string[] {
  return messages.flatMap(({ role, parts }, index) => {
    const isAlone =
      messages[index - 1]?.role !== 'assistant' && messages[index + 1]?.role !== 'assistant';
    const [part, ...others] = parts;
    if (role !== 'assistant' || !isAlone || part?.type !== 'text' || others.length > 0) return [];
    const trimmed = trimWhitespace(part.text);
    return trimmed === '' ? [] : [trimmed];
  });
}

/** The text as tokens spell it. */
function spelled(said: string): string {
  return new TextDecoder('utf-8', { ignoreBOM: true })
    .decode(new TextEncoder().encode(said))
    .replaceAll('\u2581', ' ');
}

function chat(messages: readonly ChatMessage[], options: Partial<ChatInput> = {}): ChatInput {
  const defaults = { strict: false, addGenerationPrompt: true, continueFinalMessage: false };
  return { type: 'chat', messages, ...defaults, ...options };
}

/** Checks that every span is one of `textsOf`, whole and at its place; returns how many there are. */
async function checkSpans(
  input: ChatInput,
  tokenizer: Tokenizer,
  model: ModelConfig,
): Promise<number> {
  const size = model.vision?.imageSize ?? 0;
  const preparer = createPreparer({
    tokenizer,
    model,
    contextTokens: 1_000_000,
    loadImage: async () => [{ rgb: new Uint8Array(size * size * 3), sha256: '00' }],
  });
  const { assistantSpans, tokens } = await preparer.prepare(input);
  const ids = Array.from(tokens);
  const { startOfTurn, endOfTurn } = tokenizer.special;
  const found = assistantSpans.map(({ start, end }) => {
    const turn = ids.lastIndexOf(startOfTurn, start);
    expect(tokenizer.decode(ids.slice(turn, start))).toBe('model\n');
    expect(end === ids.length ? endOfTurn : ids[end]).toBe(endOfTurn);
    return tokenizer.decode(ids.slice(start, end));
  });
  expect(found).toEqual(textsOf(input.messages).map(spelled));
  return found.length;
}

function spansAreRight(getTokenizer: () => Tokenizer, model: ModelConfig, numRuns: number): void {
  test('point at exactly the text, in any order of messages', async () => {
    let count = 0;
    await fc.assert(
      fc.asyncProperty(anyOrder, fc.boolean(), async (messages, isContinued) => {
        const continueFinalMessage = isContinued && messages.at(-1)?.role === 'assistant';
        const input = chat(messages, { continueFinalMessage });
        count += await checkSpans(input, getTokenizer(), model);
      }),
      { seed: 91, numRuns },
    );
    expect(count).toBeGreaterThan(numRuns / 4);
  });

  test('point at exactly the text when strict, the last turn open or not', async () => {
    let count = 0;
    await fc.assert(
      fc.asyncProperty(alternating, fc.boolean(), async (messages, continueFinalMessage) => {
        const input = chat(messages, { strict: true, continueFinalMessage });
        count += await checkSpans(input, getTokenizer(), model);
      }),
      { seed: 92, numRuns },
    );
    expect(count).toBeGreaterThan(numRuns / 2);
  });
}

const demo = parseModelConfig(readDemoJson('config.json'));

describe("assistant spans with the demo model's tokenizer", () => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    const vocabulary = await buildVocabulary(readDemoFile('tokenizer.json'));
    tokenizer = createTokenizer(loadVocabulary(vocabulary));
  });
  spansAreRight(() => tokenizer, demo, 400);
});

describe('assistant spans with one token a byte', () => {
  const model = fakeModelConfig();
  // Spaces are spaces there: U+2581 is not written as one.
  const tokenizer = createByteTokenizer();
  const words: Tokenizer = {
    ...tokenizer,
    encodeSegments: (segments) =>
      tokenizer.encodeSegments(
        segments.map((segment) =>
          segment.type === 'text' ? { ...segment, text: spelled(segment.text) } : segment,
        ),
      ),
  };
  spansAreRight(() => words, model, 200);
});

describeWithRealVocabulary("assistant spans with Gemma's vocabulary", (files) => {
  const text262k = { ...demo.text, vocabSize: 262_208 };
  const tokenizer = createTokenizer(loadVocabulary(readFileSync(files.vocabulary)));
  const ids = { beginImageId: 255_999, endImageId: 256_000, imageTokenId: 262_144 };
  const vision = demo.vision === null ? null : { ...demo.vision, ...ids };
  spansAreRight(() => tokenizer, { text: text262k, vision }, 400);
});

describe('a text without a border at its start', () => {
  test('has no span, and the turns around it keep theirs', async () => {
    const pieces = [...Array.from('usermodl\nxy'), '\nx', 'xy'];
    const vocabulary = await buildVocabulary(toBytes(tokenizerJson({ pieces })));
    const tokenizer = createTokenizer(loadVocabulary(vocabulary));
    const preparer = createPreparer({
      tokenizer,
      model: { text: { ...demo.text, vocabSize: tokenizer.vocabSize }, vision: null },
      contextTokens: 4096,
      loadImage: async () => [],
    });
    const messages = ['yx', 'xy', 'y'].flatMap((said) => [
      say('user', 'u'),
      say('assistant', said),
    ]);
    const { tokens, assistantSpans } = await preparer.prepare(chat(messages));
    const ids = Array.from(tokens);
    expect(assistantSpans.map(({ start, end }) => tokenizer.decode(ids.slice(start, end)))).toEqual(
      ['yx', 'y'],
    );
  });
});

describe('prompts that are no conversation', () => {
  test('have no spans, whatever they spell', async () => {
    const tokenizer = createByteTokenizer();
    const model = fakeModelConfig();
    const options = { tokenizer, model, contextTokens: 512, loadImage: async () => [] };
    const preparer = createPreparer(options);
    const { tokens } = await preparer.prepare(chat([say('user', 'A'), say('assistant', 'B')]));
    const inputs: PromptInput[] = [
      { type: 'tokens', ids: Array.from(tokens) },
      { type: 'text', text: '<start_of_turn>model\nB<end_of_turn>\n', addBos: true },
    ];
    for (const input of inputs) expect((await preparer.prepare(input)).assistantSpans).toEqual([]);
  });
});
