import { describe, expect, it } from 'vitest';
import { CHAT, createHttpClient, inPieces, refusalOf, TEXT } from './http-client.ts';
import type { HttpClient } from './http-client.ts';
import { HTTP_CONTRACT, type HttpTarget } from './http-target.ts';

const messages = [{ role: 'user', content: 'Hello' }];
const JSON_TYPE = { 'content-type': 'application/json' };

/** What surrounds the answers: refusals, keys, headers, methods and the small routes. */
export function describeHttpEdges(target: () => HttpTarget): void {
  const client = (): HttpClient => createHttpClient((path, init) => target().send(path, init));
  const raw = (body: RequestInit['body'], headers: Record<string, string> = JSON_TYPE) =>
    client().get(CHAT, { method: 'POST', body: body ?? null, headers, duplex: 'half' });

  const ask = (origin: string): Promise<Response> =>
    target().send(CHAT, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type',
      },
    });
  const idOf = async (sent?: string): Promise<string | null> => {
    const headers = sent === undefined ? {} : { 'x-request-id': sent };
    return (await client().get('/v1/models', { headers })).headers.get('x-request-id');
  };

  describe('refusals', () => {
    it.each(['{', '', '{"messages":', 'nonsense'])('meet what is not JSON: %j', async (body) => {
      expect(await refusalOf(await raw(body))).toEqual([400, 'invalid_request', null]);
    });

    it.each([
      [{ messages: 'Hi' }, 'messages'],
      [{ messages: [{ role: 'user', content: 5 }] }, 'messages[0].content'],
      [{ messages, temperature: 'hot' }, 'temperature'],
      [{ messages, max_tokens: -2 }, 'max_tokens'],
    ])('name the field that is wrong in %j, streamed or not', async (body, param) => {
      for (const stream of [false, true]) {
        const response = await client().post(CHAT, { ...body, stream });
        expect(await refusalOf(response)).toEqual([400, 'invalid_request', param]);
      }
    });

    it('meet models and routes that are not there', async () => {
      const model = await client().post(CHAT, { messages, model: 'no/such' });
      expect(await refusalOf(model)).toEqual([404, 'model_not_found', 'model']);
      const route = await client().get('/v1/no-such-route');
      expect(await refusalOf(route)).toEqual([404, 'not_found', null]);
    });

    it('meet methods that a route does not have', async () => {
      const response = await client().get(CHAT, { method: 'PUT', body: '{}' });
      expect(response.headers.get('allow')).toBe('POST, OPTIONS');
      expect(await refusalOf(response)).toEqual([405, 'method_not_allowed', null]);
    });

    it('meet bodies that are too large, whether they say so or not', async () => {
      const body = JSON.stringify({
        messages: [{ role: 'user', content: 'a'.repeat(HTTP_CONTRACT.maxBodyBytes) }],
      });
      const said = await raw(body, { ...JSON_TYPE, 'content-length': String(body.length) });
      const unsaid = await raw(inPieces(body, 16_384));
      for (const response of [said, unsaid]) {
        expect(await refusalOf(response)).toEqual([413, 'body_too_large', null]);
      }
    });

    it('meet bodies that are not JSON by their own account', async () => {
      const body = JSON.stringify({ messages });
      const response = await raw(body, { 'content-type': 'text/plain' });
      expect(await refusalOf(response)).toEqual([415, 'unsupported_media_type', null]);
    });

    it('meet prompts longer than the context before a stream begins', async () => {
      const prompt = 'a'.repeat(HTTP_CONTRACT.contextTokens + 1);
      const response = await client().post(TEXT, { prompt, stream: true });
      expect((await refusalOf(response)).slice(0, 2)).toEqual([400, 'context_length_exceeded']);
    });
  });

  describe('keys', () => {
    it('are asked for, and never repeated', async () => {
      for (const authorization of [
        undefined,
        'Bearer wrong-key',
        `Basic ${HTTP_CONTRACT.apiKey}`,
      ]) {
        const headers = authorization === undefined ? JSON_TYPE : { ...JSON_TYPE, authorization };
        const body = JSON.stringify({ messages });
        const response = await target().send(CHAT, { method: 'POST', headers, body });
        expect([response.status, response.headers.has('x-request-id')]).toEqual([401, true]);
        const text = await response.text();
        expect(text).toContain('invalid_api_key');
        expect(text).not.toMatch(/wrong-key|contract-key/);
      }
    });

    it('may be sent as x-api-key', async () => {
      const headers = { 'x-api-key': HTTP_CONTRACT.apiKey };
      expect((await target().send('/v1/models', { headers })).status).toBe(200);
    });

    it('are not asked of probes', async () => {
      for (const path of ['/health/live', '/health/ready']) {
        const response = await target().send(path);
        expect([response.status, response.headers.get('cache-control')]).toEqual([200, 'no-store']);
        expect(await response.json()).toMatchObject({ status: 'ok' });
      }
      const startup = await client().get('/health/startup');
      expect(await startup.json()).toMatchObject({ status: 'ok' });
    });
  });

  describe('headers', () => {
    it('let pages of the allowed origin ask first, and no others', async () => {
      const allowed = await ask(HTTP_CONTRACT.origin);
      expect([allowed.status, await allowed.text()]).toEqual([204, '']);
      expect(allowed.headers.get('access-control-allow-origin')).toBe(HTTP_CONTRACT.origin);
      expect(allowed.headers.get('access-control-allow-headers')).toMatch(/authorization/i);
      const other = await ask('https://evil.example');
      expect(other.headers.get('access-control-allow-origin')).toBeNull();
    });

    it('name the request, as the client did if it did so well', async () => {
      expect(await idOf('my-request.1')).toBe('my-request.1');
      const made = await idOf();
      expect(made).toMatch(/^req_\w+$/);
      expect(await idOf('bad id')).toMatch(/^req_\w+$/);
      expect(await idOf()).not.toBe(made);
    });

    it('name the session that the client named, whole and streamed', async () => {
      const headers = { 'x-session-id': 'talk-1' };
      for (const stream of [false, true]) {
        const body = { messages, max_tokens: 2, stream };
        const response = await client().post(CHAT, body, { headers });
        expect([response.status, response.headers.get('x-session-id')]).toEqual([200, 'talk-1']);
        await response.text();
      }
    });
  });

  describe('small routes', () => {
    it('list the model, and answer HEAD without a body', async () => {
      const { data } = (await (await client().get('/v1/models')).json()) as {
        readonly data: readonly { readonly id: string }[];
      };
      expect(data).toHaveLength(1);
      const id = data[0]?.id ?? '';
      expect(id).toContain('/');
      for (const path of [id, encodeURIComponent(id)]) {
        const response = await client().get(`/v1/models/${path}`);
        expect(await response.json()).toMatchObject({ id, object: 'model' });
      }
      const head = await client().get('/v1/models', { method: 'HEAD' });
      expect([head.status, await head.text()]).toEqual([200, '']);
    });

    it('turn text into tokens and back, though cut inside characters', async () => {
      const prompt = 'grüße, 日本語, 👩‍🚀';
      const response = await client().get('/tokenize', {
        method: 'POST',
        headers: JSON_TYPE,
        body: inPieces(JSON.stringify({ prompt, add_special_tokens: false }), 3),
        duplex: 'half',
      });
      const { tokens, count } = (await response.json()) as { tokens: number[]; count: number };
      expect(count).toBe(tokens.length);
      const back = await client().answer<{ prompt: string }>('/detokenize', { tokens });
      expect(back.prompt).toBe(prompt);
    });

    it('describe the API', async () => {
      const response = await client().get('/openapi.json');
      expect(await response.json()).toMatchObject({ openapi: expect.stringMatching(/^3\./) });
    });
  });
}
