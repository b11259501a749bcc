import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createEngine,
  createPipeline,
  type LocalCompleter,
  type Pipeline,
} from '../../adapters/node/index.ts';
import { createApp } from '../../src/app.ts';
import type { CompletionRequest } from '../../src/completer.ts';
import {
  DEMO_CASES,
  chatOf,
  picturesOf,
  readDemoPicture,
  type DemoCase,
} from '../support/demo-cases.ts';
import { runFuzz } from '../support/fuzzer.ts';

const FUZZ_SEED = 20_261_124;
const FUZZ_COUNT = 2_000;

/** The whole path on the demo model: messages in, text out. */
describe('the local engine', () => {
  let completer: LocalCompleter;
  beforeAll(async () => {
    completer = await createEngine({ precision: 'exact', threads: 2 });
  });
  afterAll(() => completer.close());

  async function answer(asked: CompletionRequest): Promise<{ text: string; prompt: number[] }> {
    let text = '';
    let prompt: number[] = [];
    for await (const event of completer.complete(asked)) {
      if (event.type === 'start') prompt = (event.prompt ?? []).map(({ id }) => id);
      if (event.type === 'delta') text += event.text;
    }
    return { text, prompt };
  }

  it('gives the prompt ids and the greedy text of the reference for every conversation, four at a time', async () => {
    const cases = [...DEMO_CASES];
    const work = async (): Promise<void> => {
      for (let next = cases.pop(); next !== undefined; next = cases.pop()) {
        const { text, prompt } = await answer(request(next));
        const name = `case ${next.case}, turn ${next.turn}`;
        expect(prompt, name).toEqual(next.prompt_ids);
        expect(text, name).toBe(next.text);
      }
    };
    await Promise.all([work(), work(), work(), work()]);
  });

  it('samples the same text with the same seed, alone and beside others', async () => {
    const [first, second] = DEMO_CASES as [DemoCase, DemoCase];
    const alone = await answer(request(first, 1.5, 7));
    const others = [1, 2, 3].map((seed) => answer(request(second, 1.5, seed)));
    const beside = await answer(request(first, 1.5, 7));
    await Promise.all(others);
    expect(beside).toEqual(alone);
  });

  it(`survives ${FUZZ_COUNT} mutated requests and answers the next good one`, async () => {
    const app = createApp({ completer });
    const picture = Buffer.from(readDemoPicture('case19-0.png')).toString('base64');
    const goodBody = {
      model: completer.model.id,
      messages: [
        {
          role: 'user',
          content: [
            { type: 'image_url', image_url: { url: `data:image/png;base64,${picture}` } },
            { type: 'text', text: 'What is it?' },
          ],
        },
      ],
      max_tokens: 2,
      temperature: 0,
    };
    const { statuses } = await runFuzz({
      request: async (init) => app.request('/v1/chat/completions', init),
      seed: FUZZ_SEED,
      count: FUZZ_COUNT,
      goodBody,
    });
    console.info(
      `fuzz on the demo model, seed ${FUZZ_SEED}: ${JSON.stringify(Object.fromEntries(statuses))}`,
    );
    const response = await app.request('/v1/chat/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(goodBody),
    });
    expect(response.status).toBe(200);
  }, 300_000);
});

describe('the pipeline for scripts', () => {
  let gemma: Pipeline;
  beforeAll(async () => {
    gemma = await createPipeline({ model: 'demo', precision: 'exact', threads: 2 });
  });
  afterAll(() => gemma.close());

  it('takes text and pictures as bytes and gives the reference text, piece by piece', async () => {
    const demoCase = DEMO_CASES.find((one) => one.turn === 0 && picturesOf(one).length === 2);
    if (demoCase === undefined) throw new Error('no golden with two pictures');
    const pieces: string[] = [];
    const text = await gemma(
      demoCase.messages.map(({ role, content }) => ({
        role,
        content:
          typeof content === 'string'
            ? content
            : content.map((part) =>
                part.type === 'text'
                  ? part
                  : { type: 'image' as const, image: readDemoPicture(part.file) },
              ),
      })),
      { temperature: 0, onText: (piece) => pieces.push(piece) },
    );
    expect(text).toBe(demoCase.text);
    expect(pieces.join('')).toBe(text);
    expect(pieces.length).toBeGreaterThan(1);
  });

  it('takes a plain string, and stops when told', async () => {
    const options = { seed: 1, temperature: 0 };
    expect(await gemma('Hello!', options)).toBe(await gemma('Hello!', options));
    const stopped = gemma('Hello!', { ...options, signal: AbortSignal.abort(new Error('enough')) });
    await expect(stopped).rejects.toThrow('enough');
  });

  it('says which picture cannot be read', async () => {
    const image = new Uint8Array([1, 2, 3]);
    const asked = gemma([{ role: 'user', content: [{ type: 'image', image }] }]);
    await expect(asked).rejects.toMatchObject({
      code: 'invalid_image',
      param: 'messages[0].content[0].image',
    });
  });
});

function request(demoCase: DemoCase, temperature = 0, seed = 0): CompletionRequest {
  return {
    prompt: {
      type: 'chat',
      messages: chatOf(demoCase),
      strict: false,
      addGenerationPrompt: true,
      continueFinalMessage: false,
    },
    choiceCount: 1,
    scope: '',
    tenant: '',
    sessionId: null,
    returnTokenIds: true,
    sampling: {
      maxTokens: 64,
      temperature,
      topK: 64,
      topP: 0.95,
      minP: 0,
      repetitionPenalty: 1,
      presencePenalty: 0,
      frequencyPenalty: 0,
      logitBias: new Map(),
      seed,
      stop: [],
      stopIds: [],
      allowedIds: null,
      minTokens: 0,
      ignoreEos: false,
      includesStop: false,
      logprobs: null,
      promptLogprobs: null,
    },
  };
}
