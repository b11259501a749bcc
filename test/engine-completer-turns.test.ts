import { describe, expect, it } from 'vitest';
import { fakeModelConfig } from '../adapters/fake/config.ts';
import type { Completer, CompletionRequest, PromptInput } from '../src/completer.ts';
import { createEngineCompleter, tokenBytesOf } from '../src/engine-completer.ts';
import type { ChatMessage } from '../src/prompt/messages.ts';
import { createPreparer } from '../src/prompt/prepare.ts';
import type { Tokenizer } from '../src/prompt/tokenizer.ts';
import { createByteTokenizer, FIRST_BYTE_ID } from './support/byte-tokenizer.ts';
import { collect, idsOf, request, textOf } from './support/completions.ts';
import { say } from './support/conversations.ts';
import { createTestEngine } from './support/engine-harness.ts';
import { createFakeEngineCompleter, FAKE_CARD } from './support/fake-engine-completer.ts';

const tokenizer = createByteTokenizer();
const LETTERS = Array.from('abcdefgh');
/** Biases, so that what is said is text without whitespace at its ends. */
const LETTERS_ONLY = new Map(
  LETTERS.map((letter) => [FIRST_BYTE_ID + letter.charCodeAt(0), 30] as const),
);

interface Turn {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly saidTokens: number;
  /** Ids of the prompt as it was computed. */
  readonly prompt: readonly number[];
}

/** Asks turn by turn, and sends back the text that came. */
async function converse(
  completer: Completer,
  turnCount: number,
  rest: (turn: number) => Partial<CompletionRequest> = () => ({}),
): Promise<Turn[]> {
  const messages: ChatMessage[] = [];
  const turns: Turn[] = [];
  for (let turn = 0; turn < turnCount; turn++) {
    messages.push(say('user', `Question ${turn}?`));
    const events = await collect(
      completer.complete(
        request(
          { logitBias: LETTERS_ONLY, maxTokens: 12, seed: turn },
          { prompt: chat(messages), returnTokenIds: true, ...rest(turn) },
        ),
      ),
    );
    const [start] = events;
    if (start?.type !== 'start') throw new Error('the completion did not start');
    const { promptTokens, cachedTokens } = start;
    const prompt = (start.prompt ?? []).map(({ id }) => id);
    turns.push({ promptTokens, cachedTokens, saidTokens: idsOf(events).length, prompt });
    messages.push(say('assistant', textOf(events)));
  }
  return turns;
}

function chat(messages: readonly ChatMessage[]): PromptInput {
  return {
    type: 'chat',
    messages: [...messages],
    strict: true,
    addGenerationPrompt: true,
    continueFinalMessage: false,
  };
}

/** Byte tokens and one for each two letters, which text is encoded to and the model never says. */
function createPairTokenizer(): Tokenizer {
  const pairs = LETTERS.flatMap((first) => LETTERS.map((next) => first + next));
  const vocabSize = tokenizer.vocabSize + pairs.length;
  const encode = (text: string): number[] =>
    (text.match(/[a-h]{2}|[^]/gu) ?? []).flatMap((piece) => {
      const pair = pairs.indexOf(piece);
      return pair < 0 ? tokenizer.encode(piece) : [tokenizer.vocabSize + pair];
    });
  return {
    ...tokenizer,
    vocabSize,
    longestTokenBytes: 2,
    encode,
    encodeSegments: (segments) =>
      segments.flatMap((segment) =>
        segment.type === 'text' ? encode(segment.text) : [segment.id],
      ),
    bytes: (id) => {
      const pair = pairs[id - tokenizer.vocabSize];
      return pair === undefined ? tokenizer.bytes(id) : new TextEncoder().encode(pair);
    },
  };
}

describe('a chat of several turns', () => {
  it('computes only what is new in every turn', async () => {
    const turns = await converse(createFakeEngineCompleter().completer, 5);
    expect(turns[0]?.cachedTokens).toBe(0);
    for (const [index, { promptTokens, cachedTokens }] of turns.slice(1).entries()) {
      const before = turns[index];
      const held = (before?.promptTokens ?? 0) + (before?.saidTokens ?? 0);
      // The last token said was never an input.
      expect(cachedTokens).toBeGreaterThanOrEqual(held - 2);
      expect(cachedTokens).toBeLessThanOrEqual(held);
      expect(promptTokens).toBeGreaterThan(held);
    }
  });

  it('goes on from the ids it said, though their text is encoded otherwise, and reports them', async () => {
    const pairs = createPairTokenizer();
    const wide = fakeModelConfig({ maxPositions: 512, vocabSize: pairs.vocabSize });
    const { engine } = createTestEngine({ tokens: tokenBytesOf(pairs, wide) }, { config: wide });
    const preparer = createPreparer({
      tokenizer: pairs,
      model: wide,
      contextTokens: 512,
      loadImage: async () => [],
    });
    const completer = createEngineCompleter({
      engine,
      tokenizer: pairs,
      prepare: (input, signal) => preparer.prepare(input, signal),
      card: { ...FAKE_CARD, vocabSize: pairs.vocabSize },
    });
    const turns = await converse(completer, 5);
    for (const [index, { promptTokens, cachedTokens, prompt }] of turns.slice(1).entries()) {
      const before = turns[index];
      const held = (before?.promptTokens ?? 0) + (before?.saidTokens ?? 0);
      expect(cachedTokens).toBeGreaterThanOrEqual(held - 2);
      expect(prompt).toHaveLength(promptTokens);
      expect(prompt.slice(0, before?.prompt.length)).toEqual(before?.prompt);
    }
  });

  it('shares nothing between scopes', async () => {
    const { completer } = createFakeEngineCompleter();
    const turns = await converse(completer, 4, (turn) => ({ scope: `tenant ${turn % 2}` }));
    expect(turns.slice(0, 2).map(({ cachedTokens }) => cachedTokens)).toEqual([0, 0]);
    const [first, , third] = turns;
    // A tenant's own turn before last is still there, but not what the other one was told.
    const own = (first?.promptTokens ?? 0) + (first?.saidTokens ?? 0);
    expect(third?.cachedTokens).toBeGreaterThanOrEqual(own - 2);
    expect(third?.cachedTokens).toBeLessThanOrEqual(own);
  });
});
