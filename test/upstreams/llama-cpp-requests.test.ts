import { expect, it } from 'vitest';
import { CHAT, refusalOf } from '../contracts/http-client.ts';
import { readDemoFile } from '../support/demo-model.ts';
import { describeLlama } from './describe-llama.ts';
import { picture, user } from './front.ts';

const HELLO = [user('Hello')];
const GREEDY = { temperature: 0, max_tokens: 40 };

describeLlama('what a real llama.cpp takes and refuses', (way, { front, gemlet }) => {
  const refused = async (body: object): Promise<readonly unknown[]> =>
    refusalOf(await front(way).post(CHAT, body));

  it('shows ids where it gets ids', async () => {
    const body = { messages: HELLO, ...GREEDY, return_token_ids: true };
    if (way === 'ids') {
      const mine = await gemlet().answer<WithIds>(CHAT, body);
      const theirs = await front(way).answer<WithIds>(CHAT, body);
      expect(theirs.prompt_token_ids).toEqual(mine.prompt_token_ids);
      expect(theirs.choices[0]?.token_ids).toEqual(mine.choices[0]?.token_ids);
    } else {
      expect(await refused(body)).toEqual([400, 'unsupported_parameter', 'return_token_ids']);
    }
  });

  it('tokenizes as gemlet does', async () => {
    const body = { prompt: 'Hello,  wörld! 🦜\n\n\n<end_of_turn>' };
    const { tokens } = await gemlet().answer<{ readonly tokens: readonly number[] }>(
      '/tokenize',
      body,
    );
    expect(await front(way).answer('/tokenize', body)).toMatchObject({ tokens });
    const text = await gemlet().answer('/detokenize', { tokens });
    expect(await front(way).answer('/detokenize', { tokens })).toEqual(text);
  });

  it('takes roles in any order by ids; by messages its template refuses them', async () => {
    const twice = [user('Hi'), user('Hello')];
    const begun = [...HELLO, { role: 'assistant', content: 'Hello! Send me' }];
    const going = { continue_final_message: true, add_generation_prompt: false };
    if (way === 'ids') {
      const mine = await gemlet().say({ messages: twice, ...GREEDY });
      expect(await front(way).say({ messages: twice, ...GREEDY })).toBe(mine);
      const rest = await front(way).say({ messages: begun, ...GREEDY, ...going });
      expect(rest).toBe(' a picture and I will describe it.');
      return;
    }
    expect(await refused({ messages: twice })).toEqual([400, 'invalid_request', null]);
    const continued = await refused({ messages: begun, ...going });
    expect(continued).toEqual([400, 'unsupported_parameter', 'continue_final_message']);
    // It would say again what was begun.
    expect(await refused({ messages: begun })).toEqual([400, 'unsupported_parameter', 'messages']);
  });

  it.each([
    ['stop_token_ids', { messages: HELLO, stop_token_ids: [9] }],
    ['cache_salt', { messages: HELLO, cache_salt: 'mine' }],
  ])('is not asked for %s, which it would ignore', async (param, body) => {
    expect(await refused(body)).toEqual([400, 'unsupported_parameter', param]);
  });

  it('refuses what is too long', async () => {
    const long = { messages: [user('word '.repeat(2_000))] };
    expect(await refused(long)).toEqual([400, 'context_length_exceeded', 'messages']);
  });

  it('is not asked for another model, of which it would not care', async () => {
    const body = { messages: HELLO, model: 'other' };
    expect(await refused(body)).toEqual([404, 'model_not_found', 'model']);
  });

  it('does not get pictures that are none, and refuses those that are damaged inside', async () => {
    const none = { messages: [user([picture(new Uint8Array(3))])] };
    const param = 'messages[0].content[0].image_url.url';
    expect(await refused(none)).toEqual([400, 'invalid_image', param]);
    const damaged = readDemoFile('example.png').fill(0, 300, 1_000);
    const inside = await refused({ messages: [user([picture(damaged)])] });
    // With a bundle, pictures are decoded and shaped here.
    expect(inside).toEqual(
      way === 'ids' ? [400, 'invalid_image', param] : [400, 'invalid_request', null],
    );
  });
});

interface WithIds {
  readonly prompt_token_ids: readonly number[];
  readonly choices: readonly { readonly token_ids: readonly number[] }[];
}
