import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import {
  AIMessage,
  type AIMessageChunk,
  type BaseMessage,
  HumanMessage,
  type UsageMetadata,
} from '@langchain/core/messages';
import { ChatOpenAI } from '@langchain/openai';
import { generateText, streamText, type ModelMessage } from 'ai';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEngine, type LocalCompleter } from '../../adapters/node/create-engine.ts';
import { type RunningServer, startServer } from '../../adapters/node/server.ts';
import { createApp } from '../../src/app.ts';
import { readDemoFile } from '../support/demo-model.ts';

const PICTURE = `data:image/png;base64,${Buffer.from(readDemoFile('example.png')).toString('base64')}`;
const QUESTIONS = [
  'Describe this image.',
  'What colour is it?',
  'And the shape?',
  'Hello!',
  'Describe this image again.',
];
const MAX_TOKENS = 24;

interface Answer {
  readonly text: string;
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly cachedTokens: number;
}

/** Asks the next question of a conversation that starts with the picture; every other one streams. */
type Ask = (questions: readonly string[], answers: readonly string[]) => Promise<Answer>;

let completer: LocalCompleter;
let server: RunningServer;
let baseURL: string;

beforeAll(async () => {
  completer = await createEngine({ slots: 2, threads: 2, kvBudgetBytes: 64e6 });
  server = await startServer({ app: createApp({ completer, apiKeys: ['a', 'b', 'c'] }), port: 0 });
  baseURL = `${server.url}/v1`;
});

afterAll(async () => {
  await server.close();
  await completer.close();
});

/** Five turns; in each the earlier ones cost nothing. */
async function converse(ask: Ask): Promise<readonly Answer[]> {
  const turns: Answer[] = [];
  for (const [turn] of QUESTIONS.entries()) {
    const texts = turns.map(({ text }) => text);
    const answer = await ask(QUESTIONS.slice(0, turn + 1), texts);
    expect(answer.text).not.toBe('');
    const before = turns.at(-1);
    if (before === undefined) {
      expect(answer.cachedTokens).toBe(0);
    } else {
      // All of the prompt and the answer before, but for whitespace that clients and templates trim.
      const known = before.promptTokens + before.completionTokens;
      expect(answer.cachedTokens).toBeGreaterThanOrEqual(known - 4);
      expect(answer.cachedTokens).toBeLessThan(answer.promptTokens);
    }
    turns.push(answer);
  }
  return turns;
}

/** The same turns asked so that nothing can be reused. */
async function expectSameWithoutReuse(name: string, turns: readonly Answer[]): Promise<void> {
  const client = new OpenAI({ baseURL, apiKey: 'a' });
  for (const [turn, { text }] of turns.entries()) {
    const body = {
      model: completer.model.id,
      temperature: 0,
      max_tokens: MAX_TOKENS,
      messages: openAiMessages(
        QUESTIONS.slice(0, turn + 1),
        turns.slice(0, turn).map((answer) => answer.text),
      ),
      cache_salt: `${name} ${turn}`,
    };
    const fresh = await client.chat.completions.create(body);
    expect(fresh.usage?.prompt_tokens_details?.cached_tokens).toBe(0);
    expect(fresh.choices[0]?.message.content).toBe(text);
  }
}

function openAiMessages(
  questions: readonly string[],
  answers: readonly string[],
): OpenAI.ChatCompletionMessageParam[] {
  return questions.flatMap((text, turn): OpenAI.ChatCompletionMessageParam[] => {
    const picture = { type: 'image_url' as const, image_url: { url: PICTURE } };
    const question = { type: 'text' as const, text };
    const content = turn === 0 ? [picture, question] : text;
    const answer = answers[turn];
    if (answer === undefined) return [{ role: 'user', content }];
    return [
      { role: 'user', content },
      { role: 'assistant', content: answer },
    ];
  });
}

/** Typed by hand: the package's own type resolves to never under exact optional properties. */
function usageOf(message: {
  readonly usage_metadata?: UsageMetadata | undefined;
}): UsageMetadata | undefined {
  return message.usage_metadata;
}

async function gathered(chunks: AsyncIterable<AIMessageChunk>): Promise<AIMessageChunk> {
  let whole: AIMessageChunk | null = null;
  for await (const chunk of chunks) whole = whole === null ? chunk : whole.concat(chunk);
  if (whole === null) throw new Error('an empty stream');
  return whole;
}

describe('a conversation of five turns about a picture', () => {
  it('costs only its new words through the openai client', async () => {
    const client = new OpenAI({ baseURL, apiKey: 'a' });
    const turns = await converse(async (questions, answers) => {
      const body = {
        model: completer.model.id,
        temperature: 0,
        max_tokens: MAX_TOKENS,
        messages: openAiMessages(questions, answers),
      };
      let text = '';
      let usage: OpenAI.CompletionUsage | null | undefined;
      if (questions.length % 2 === 0) {
        const stream = await client.chat.completions.create({
          ...body,
          stream: true,
          stream_options: { include_usage: true },
        });
        for await (const chunk of stream) {
          text += chunk.choices[0]?.delta.content ?? '';
          usage = chunk.usage ?? usage;
        }
      } else {
        const answer = await client.chat.completions.create(body);
        text = answer.choices[0]?.message.content ?? '';
        usage = answer.usage;
      }
      return {
        text,
        promptTokens: usage?.prompt_tokens ?? 0,
        completionTokens: usage?.completion_tokens ?? 0,
        cachedTokens: usage?.prompt_tokens_details?.cached_tokens ?? -1,
      };
    });
    await expectSameWithoutReuse('openai', turns);
  });

  it('costs only its new words through the AI SDK', async () => {
    const provider = createOpenAICompatible({
      name: 'gemlet',
      baseURL,
      apiKey: 'b',
      includeUsage: true,
    });
    const model = provider(completer.model.id);
    const turns = await converse(async (questions, answers) => {
      const messages = questions.flatMap((text, turn): ModelMessage[] => {
        const question = { type: 'text' as const, text };
        const content =
          turn === 0 ? [{ type: 'image' as const, image: PICTURE }, question] : [question];
        const answer = answers[turn];
        if (answer === undefined) return [{ role: 'user', content }];
        return [
          { role: 'user', content },
          { role: 'assistant', content: answer },
        ];
      });
      const options = { model, messages, temperature: 0, maxOutputTokens: MAX_TOKENS };
      const result = questions.length % 2 === 0 ? streamText(options) : await generateText(options);
      const text = await result.text;
      const usage = await result.usage;
      return {
        text,
        promptTokens: usage.inputTokens ?? 0,
        completionTokens: usage.outputTokens ?? 0,
        cachedTokens: usage.cachedInputTokens ?? -1,
      };
    });
    await expectSameWithoutReuse('ai', turns);
  });

  it('costs only its new words through LangChain', async () => {
    const model = new ChatOpenAI({
      model: completer.model.id,
      apiKey: 'c',
      temperature: 0,
      maxTokens: MAX_TOKENS,
      configuration: { baseURL },
    });
    const turns = await converse(async (questions, answers) => {
      const messages = questions.flatMap((text, turn): BaseMessage[] => {
        const question = { type: 'text', text };
        const content =
          turn === 0 ? [{ type: 'image_url', image_url: { url: PICTURE } }, question] : [question];
        const answer = answers[turn];
        const asked = new HumanMessage({ content });
        return answer === undefined ? [asked] : [asked, new AIMessage(answer)];
      });
      const answer =
        questions.length % 2 === 0
          ? await gathered(await model.stream(messages))
          : await model.invoke(messages);
      const usage = usageOf(answer);
      return {
        text: answer.text,
        promptTokens: usage?.input_tokens ?? 0,
        completionTokens: usage?.output_tokens ?? 0,
        cachedTokens: usage?.input_token_details?.cache_read ?? -1,
      };
    });
    await expectSameWithoutReuse('langchain', turns);
  });
});
