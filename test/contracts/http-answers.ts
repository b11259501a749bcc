import { describe, expect, it } from 'vitest';
import { PNG_COLOR, writePng } from '../support/png-writer.ts';
import {
  type Answer,
  CHAT,
  createHttpClient,
  ENDLESS,
  type HttpClient,
  refusalOf,
  TEXT,
  textOf,
} from './http-client.ts';
import type { HttpTarget } from './http-target.ts';

const messages = [{ role: 'user', content: 'Hello' }];

/** What answers hold, whole and streamed. */
export function describeHttpAnswers(target: () => HttpTarget): void {
  const client = (): HttpClient => createHttpClient((path, init) => target().send(path, init));

  describe('answers', () => {
    it.each([
      [CHAT, { messages }, 'chat.completion'],
      [TEXT, { prompt: 'Once upon' }, 'text_completion'],
    ])('of %s are the same whole, again and streamed', async (path, prompt, object) => {
      const { answer, stream } = client();
      const body = { ...prompt, ...ENDLESS, max_tokens: 24 };
      const whole = await answer(path, body);
      expect(whole.object).toBe(object);
      const { usage } = whole;
      expect(usage?.completion_tokens).toBe(24);
      expect(usage?.total_tokens).toBe((usage?.prompt_tokens ?? 0) + 24);
      expect(whole.choices[0]?.finish_reason).toBe('length');
      const text = textOf([whole]);
      expect(text).not.toBe('');
      expect(textOf([await answer(path, body)])).toBe(text);
      expect(textOf([await answer(path, { ...body, seed: 8 })])).not.toBe(text);

      const chunks = await stream(path, { ...body, stream_options: { include_usage: true } });
      expect(textOf(chunks)).toBe(text);
      expect(new Set(chunks.map((chunk) => chunk.id)).size).toBe(1);
      expect(chunks.at(-1)).toMatchObject({
        choices: [],
        usage: { prompt_tokens: usage?.prompt_tokens, completion_tokens: 24 },
      });
      expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe('length');
      expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true);
    });

    it('begin a streamed chat with the role, and end without usage unless asked', async () => {
      const chunks = await client().stream(CHAT, { messages, ...ENDLESS, max_tokens: 3 });
      expect(chunks[0]?.choices[0]?.delta).toMatchObject({ role: 'assistant', content: '' });
      expect(chunks.every((chunk) => !('usage' in chunk))).toBe(true);
    });

    it('give every choice its own text, as the same request with the next seed', async () => {
      const { answer, stream } = client();
      const body = { messages, ...ENDLESS, max_tokens: 12, n: 2 };
      const whole = await answer(CHAT, body);
      expect(whole.choices.map(({ index }) => index)).toEqual([0, 1]);
      const second = await answer(CHAT, { ...body, n: 1, seed: ENDLESS.seed + 1 });
      expect(textOf([whole], 1)).toBe(textOf([second]));
      expect(textOf([whole], 1)).not.toBe(textOf([whole], 0));
      const chunks = await stream(CHAT, body);
      expect([0, 1].map((index) => textOf(chunks, index))).toEqual(
        [0, 1].map((index) => textOf([whole], index)),
      );
    });

    it('end before a stop string, which they name', async () => {
      const { answer, stream } = client();
      // Only ASCII is allowed, so that every token is a character.
      const logit_bias = Object.fromEntries(
        Array.from({ length: 128 }, (_, id) => [String(9 + 128 + id), -100]),
      );
      const body = { messages, ...ENDLESS, max_tokens: 24, logit_bias };
      const text = textOf([await answer(CHAT, body)]);
      const stop = text.slice(5, 8);
      const ended = await answer(CHAT, { ...body, stop: [stop] });
      expect(ended.choices[0]).toMatchObject({ finish_reason: 'stop', stop_reason: stop });
      expect(textOf([ended])).toBe(text.slice(0, text.indexOf(stop)));
      expect(textOf(await stream(CHAT, { ...body, stop: [stop] }))).toBe(textOf([ended]));
    });

    it('show the log probability of every token', async () => {
      const { answer, stream } = client();
      const body = { messages, ...ENDLESS, max_tokens: 6, logprobs: true, top_logprobs: 2 };
      const whole = await answer(CHAT, body);
      const tokens = whole.choices[0]?.logprobs?.content ?? [];
      expect(tokens).toHaveLength(6);
      for (const token of tokens) {
        expect(token.logprob).toBeLessThanOrEqual(0);
        expect(token).toMatchObject({ top_logprobs: [expect.anything(), expect.anything()] });
      }
      const streamed = (await stream(CHAT, body)).flatMap(
        ({ choices }) => choices[0]?.logprobs?.content ?? [],
      );
      expect(streamed).toEqual(tokens);
    });

    it('count the tokens of an image, on which the text depends', async () => {
      const { answer, post } = client();
      const seen = await answer(CHAT, imageRequest([9, 9, 9, 1, 2, 3]));
      expect(seen.usage).toMatchObject({ prompt_tokens_details: { image_tokens: 4 } });
      const other = await answer(CHAT, imageRequest([200, 0, 0, 0, 200, 0]));
      expect(textOf([other])).not.toBe(textOf([seen]));
      const broken = await post(CHAT, withImage('data:image/png;base64,AAAA'));
      const param = 'messages[0].content[0].image_url.url';
      expect(await refusalOf(broken)).toEqual([400, 'invalid_image', param]);
    });

    it('ignore fields that nobody knows', async () => {
      const { answer } = client();
      const body = { messages, ...ENDLESS, max_tokens: 4 };
      const text = textOf([await answer(CHAT, body)]);
      expect(textOf([await answer(CHAT, { ...body, no_such_field: { a: [1] } })])).toBe(text);
    });

    it('may be fetched later, or come at once where nobody keeps them', async () => {
      const { answer, post, get } = client();
      const body = { messages, ...ENDLESS, max_tokens: 4 };
      const text = textOf([await answer(CHAT, body)]);
      const response = await post(CHAT, body, { headers: { prefer: 'respond-async' } });
      if (!target().keepsJobs) {
        expect([response.status, response.headers.get('preference-applied')]).toEqual([200, null]);
        expect(textOf([(await response.json()) as Answer])).toBe(text);
        return;
      }
      expect(response.status).toBe(202);
      expect(response.headers.get('preference-applied')).toBe('respond-async');
      const location = response.headers.get('location') ?? '';
      const { id } = (await response.json()) as { readonly id: string };
      expect(location).toBe(`/v1/jobs/${id}`);
      interface Job {
        readonly status: string;
        readonly response?: { readonly status_code: number; readonly body: Answer };
      }
      const read = async (): Promise<Job> => (await (await get(location)).json()) as Job;
      let job = await read();
      while (job.status === 'queued' || job.status === 'running') job = await read();
      expect(job).toMatchObject({ status: 'completed', response: { status_code: 200 } });
      expect(job.response === undefined ? '' : textOf([job.response.body])).toBe(text);
      expect((await get(location, { method: 'DELETE' })).status).toBe(200);
      expect((await get(location)).status).toBe(404);
    });
  });
}

/** A question about a picture of two pixels. */
function imageRequest(rgb: readonly number[]): object {
  const pixels = Uint8Array.of(0, ...rgb);
  const png = writePng({ width: 2, height: 1, color: PNG_COLOR.rgb, depth: 8 }, pixels);
  return withImage(`data:image/png;base64,${Buffer.from(png).toString('base64')}`);
}

function withImage(url: string): object {
  const content = [{ type: 'image_url', image_url: { url } }];
  return { messages: [{ role: 'user', content }], ...ENDLESS, max_tokens: 8 };
}
