import { describe, expect, it } from 'vitest';
import { createApp } from '../src/app.ts';
import { createFakeEngineCompleter } from './support/fake-engine-completer.ts';
import { runFuzz } from './support/fuzzer.ts';
import { PNG_COLOR, writePng } from './support/png-writer.ts';

const messages = [{ role: 'user', content: 'Hi' }];
const BOS = 2;
const END_OF_TURN = 5;

type Engine = ReturnType<typeof createFakeEngineCompleter>;
type Json = Record<string, unknown>;

interface TextChoice {
  readonly text: string;
  readonly finish_reason: string;
  readonly logprobs: {
    readonly tokens: readonly string[];
    readonly token_logprobs: readonly (number | null)[];
    readonly top_logprobs: readonly (Readonly<Record<string, number>> | null)[];
  };
}

function harness(engine: Engine = createFakeEngineCompleter()): {
  readonly engine: Engine;
  readonly send: (path: string, body: object) => Promise<Response>;
  readonly json: (path: string, body: object) => Promise<Json>;
} {
  const app = createApp({ completer: engine.completer });
  const send = async (path: string, body: object): Promise<Response> =>
    app.request(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  return {
    engine,
    send,
    json: async (path, body) => {
      const response = await send(path, body);
      const answer = (await response.json()) as Json;
      expect([response.status, answer['error']]).toEqual([200, undefined]);
      return answer;
    },
  };
}

async function streamedText(response: Response): Promise<string> {
  let text = '';
  for (const line of (await response.text()).split('\n\n')) {
    if (!line.startsWith('data: {')) continue;
    const { choices } = JSON.parse(line.slice(6)) as {
      choices: { delta: { content?: string } }[];
    };
    text += choices[0]?.delta.content ?? '';
  }
  return text;
}

const parts = (url: string): object => ({
  messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }],
  max_tokens: 2,
});

describe('the app over the real engine and a fake device', () => {
  it('says the same streamed, whole, and again', async () => {
    const { json, send } = harness();
    const body = { messages, seed: 5, max_tokens: 20 };
    const whole = (await json('/v1/chat/completions', body)) as {
      choices: { message: { content: string } }[];
    };
    const content = whole.choices[0]?.message.content;
    expect(content?.length).toBeGreaterThan(0);
    const streamed = await send('/v1/chat/completions', { ...body, stream: true });
    expect(await streamedText(streamed)).toBe(content);
    expect(await json('/v1/chat/completions', body)).toMatchObject({ choices: whole.choices });
  });

  it('gives an evaluation harness one entry per prompt token and one more, even at the end of turn', async () => {
    const { json } = harness();
    // The fake's continuation may or may not be the end of turn: force both.
    for (const bias of [100, -100]) {
      const prompt = [
        [BOS, 80, 90],
        [BOS, 81, 91, 100, 101],
      ];
      const answer = (await json('/v1/completions', {
        prompt,
        temperature: 0,
        max_tokens: 1,
        logprobs: 1,
        seed: 1234,
        echo: true,
        logit_bias: { [END_OF_TURN]: bias },
      })) as { choices: TextChoice[] };
      for (const [index, ids] of prompt.entries()) {
        const logprobs = answer.choices[index]?.logprobs;
        const tail =
          bias === 100 ? ['<end_of_turn>'] : [expect.not.stringMatching('<end_of_turn>')];
        expect(logprobs?.tokens.slice(ids.length)).toEqual(tail);
        expect(logprobs?.token_logprobs).toHaveLength(ids.length + 1);
        expect(logprobs?.top_logprobs).toHaveLength(ids.length + 1);
        expect(logprobs?.token_logprobs[0]).toBeNull();
        expect(logprobs?.top_logprobs[0]).toBeNull();
      }
    }
  });

  it('scores a text with the very numbers it had while writing it', async () => {
    const { json } = harness();
    const answer = async (
      prompt: readonly number[],
      extra: object,
    ): Promise<TextChoice & { readonly token_ids: readonly number[] }> => {
      const body = { prompt, temperature: 0, logprobs: 1, return_token_ids: true, ...extra };
      const { choices } = (await json('/v1/completions', body)) as {
        choices: [TextChoice & { readonly token_ids: readonly number[] }];
      };
      return choices[0];
    };
    const prompt = [BOS, 80, 90, 100];
    const written = await answer(prompt, { max_tokens: 6, ignore_eos: true });
    const scored = await answer([...prompt, ...written.token_ids], { max_tokens: 0, echo: true });
    expect(written.token_ids).toHaveLength(6);
    const { token_logprobs, top_logprobs, tokens } = scored.logprobs;
    expect(token_logprobs.slice(prompt.length)).toEqual(written.logprobs.token_logprobs);
    for (const [at, token] of tokens.entries()) {
      if (at > 0) expect(top_logprobs[at]?.[token]).toBe(token_logprobs[at]);
    }
  });

  it('reads an image from a data URI and counts its tokens', async () => {
    const { json, send } = harness();
    const png = writePng(
      { width: 2, height: 1, color: PNG_COLOR.rgb, depth: 8 },
      Uint8Array.of(0, 9, 9, 9, 1, 2, 3),
    );
    const url = `data:image/png;base64,${Buffer.from(png).toString('base64')}`;
    expect(await json('/v1/chat/completions', parts(url))).toMatchObject({
      usage: { prompt_tokens_details: { image_tokens: 4 } },
    });
    const broken = await send('/v1/chat/completions', {
      ...parts('data:image/png;base64,AAAA'),
      stream: true,
    });
    expect(broken.status).toBe(400);
    expect(await broken.json()).toMatchObject({
      error: { code: 'invalid_image', param: 'messages[0].content[0].image_url.url' },
    });
  });

  it('refuses what does not fit the context, streamed or not', async () => {
    const { send } = harness();
    for (const stream of [false, true]) {
      const response = await send('/v1/completions', { prompt: 'a'.repeat(600), stream });
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ error: { code: 'context_length_exceeded' } });
    }
  });

  it('stops computing for a stream that its reader leaves', async () => {
    let steps = 0;
    const beforeForward = (): void => void steps++;
    const { send } = harness(createFakeEngineCompleter({}, { beforeForward }));
    const body = { messages, stream: true, ignore_eos: true, max_tokens: 400 };
    const reader = (await send('/v1/chat/completions', body)).body?.getReader();
    await reader?.read();
    await reader?.cancel();
    const atCancel = steps;
    await (await send('/v1/chat/completions', { messages, max_tokens: 2 })).text();
    expect(steps).toBeLessThan(atCancel + 8);
  });

  it('survives 1,000 mutants of a good request', { timeout: 120_000 }, async () => {
    const { send, engine } = harness();
    const png = writePng(
      { width: 1, height: 1, color: PNG_COLOR.rgb, depth: 8 },
      Uint8Array.of(0, 1, 2, 3),
    );
    const app = createApp({ completer: engine.completer });
    const goodBody = {
      messages: [
        { role: 'system', content: 'Be brief.' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'What?' },
            {
              type: 'image_url',
              image_url: { url: `data:image/png;base64,${Buffer.from(png).toString('base64')}` },
            },
          ],
        },
      ],
      n: 2,
      max_tokens: 3,
      seed: 1,
      temperature: 0.7,
      stop: ['zz'],
      logprobs: true,
      top_logprobs: 1,
    };
    await runFuzz({
      request: async (init) => app.request('/v1/chat/completions', init),
      seed: 1,
      count: 500,
      goodBody,
    });
    const text = {
      prompt: ['abc', [BOS, 80]],
      max_tokens: 3,
      echo: true,
      logprobs: 1,
      stream: true,
    };
    await runFuzz({
      request: async (init) => app.request('/v1/completions', init),
      seed: 501,
      count: 500,
      goodBody: text,
    });
    expect((await send('/v1/completions', { prompt: 'a' })).status).toBe(200);
  });
});
