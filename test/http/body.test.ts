import { Context } from 'hono';
import { describe, expect, it } from 'vitest';
import { createApp } from '../../src/app.ts';
import { ServeError } from '../../src/errors.ts';
import type { AppEnv } from '../../src/http/app-env.ts';
import { readJson } from '../../src/http/body.ts';
import { createBodyBudget } from '../../src/limits/body-budget.ts';
import { DEFAULT_LIMITS } from '../../src/openai/request-context.ts';
import { createStubCompleter } from '../support/stub-completer.ts';

const JSON_TYPE = { 'content-type': 'application/json' };

function read(
  body: NonNullable<RequestInit['body']>,
  headers: Record<string, string> = JSON_TYPE,
  limits = {},
): Promise<unknown> {
  const request = new Request('http://x/', {
    method: 'POST',
    body,
    headers,
    duplex: 'half',
  });
  const c = new Context<AppEnv>(request);
  c.set('body', createBodyBudget(2 ** 30).lease());
  return readJson(c, { ...DEFAULT_LIMITS, ...limits });
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (ServeError.is(error)) return error.code;
    throw error;
  }
  return 'accepted';
}

const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);

describe('readJson', () => {
  it('reads JSON in many chunks, split inside characters', async () => {
    const bytes = new TextEncoder().encode('{"a":"grüß 👋"}');
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
        controller.close();
      },
    });
    expect(await read(body)).toEqual({ a: 'grüß 👋' });
  });

  it('reads a byte order mark', async () => {
    expect(await read('\uFEFF{}')).toEqual({});
  });

  it.each([
    '',
    '   ',
    '{',
    '{"a":',
    '[1,]',
    'undefined',
    "{'a':1}",
    '{"a":NaN}',
    '\u0000',
    '{}{}',
    '"\n"',
  ])('refuses %j as invalid', async (text) => {
    expect(await codeOf(read(text))).toBe('invalid_request');
  });

  it('refuses bytes that are not UTF-8', async () => {
    expect(await codeOf(read(Uint8Array.of(0x22, 0xff, 0xfe, 0x22)))).toBe('invalid_request');
  });

  it('never quotes the body when it cannot parse it', async () => {
    await expect(read('SECRET')).rejects.toSatisfy(
      (error: Error) => !String(error.stack).includes('SECRET'),
    );
  });

  it('stops reading past the limit, with or without content-length', async () => {
    let pulled = 0;
    let cancelled = false;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        pulled++;
        controller.enqueue(new Uint8Array(1024).fill(0x20));
      },
      cancel() {
        cancelled = true;
      },
    });
    expect(await codeOf(read(endless, JSON_TYPE, { maxBodyBytes: 10_000 }))).toBe('body_too_large');
    expect(pulled).toBeLessThan(14);
    expect(cancelled).toBe(true);
    const declared = read(
      '{}',
      { ...JSON_TYPE, 'content-length': '10001' },
      { maxBodyBytes: 10_000 },
    );
    expect(await codeOf(declared)).toBe('body_too_large');
    expect(await codeOf(read('{"a":1}', JSON_TYPE, { maxBodyBytes: 7 }))).toBe('accepted');
    expect(await codeOf(read('{"a":1}', JSON_TYPE, { maxBodyBytes: 6 }))).toBe('body_too_large');
  });

  it('bounds nesting before parsing, but not brackets inside strings', async () => {
    expect(await codeOf(read(nested(64)))).toBe('accepted');
    expect(await codeOf(read(nested(65)))).toBe('invalid_request');
    expect(await codeOf(read('[{"a":'.repeat(1_000_000)))).toBe('invalid_request');
    expect(await read(JSON.stringify({ a: `\\"${'['.repeat(100)}\\` }))).toEqual({
      a: `\\"${'['.repeat(100)}\\`,
    });
    expect(await read(JSON.stringify(Array.from({ length: 200 }, () => [1])))).toHaveLength(200);
  });

  it.each([
    ['application/json', 'accepted'],
    ['application/json; charset=utf-8', 'accepted'],
    ['APPLICATION/JSON', 'accepted'],
    ['text/json', 'accepted'],
    ['application/vnd.x+json', 'accepted'],
    ['application/x-www-form-urlencoded', 'unsupported_media_type'],
    ['multipart/form-data; boundary=x', 'unsupported_media_type'],
    ['text/plain', 'unsupported_media_type'],
    ['image/png', 'unsupported_media_type'],
    ['json', 'unsupported_media_type'],
  ])('answers content-type %s with: %s', async (type, code) => {
    expect(await codeOf(read('{}', { 'content-type': type }))).toBe(code);
  });

  it('takes a missing content-type from programs, not from web pages', async () => {
    const bytes = new TextEncoder().encode('{}');
    expect(await codeOf(read(bytes, {}))).toBe('accepted');
    expect(await codeOf(read(bytes, { origin: 'https://evil.example' }))).toBe(
      'unsupported_media_type',
    );
  });

  it('refuses compressed bodies', async () => {
    expect(await codeOf(read('{}', { ...JSON_TYPE, 'content-encoding': 'gzip' }))).toBe(
      'unsupported_media_type',
    );
    expect(await codeOf(read('{}', { ...JSON_TYPE, 'content-encoding': 'identity' }))).toBe(
      'accepted',
    );
  });
});

describe('through the app', () => {
  const app = createApp({ completer: createStubCompleter(), limits: { maxBodyBytes: 1000 } });
  it.each([
    ['{"messages"', JSON_TYPE, 400, 'invalid_request'],
    ['x'.repeat(1001), JSON_TYPE, 413, 'body_too_large'],
    ['a=b', { 'content-type': 'application/x-www-form-urlencoded' }, 415, 'unsupported_media_type'],
  ])('answers %j with %j by %d', async (body, headers, status, code) => {
    for (const path of ['/v1/chat/completions', '/v1/completions', '/tokenize', '/detokenize']) {
      const response = await app.request(path, { method: 'POST', body, headers });
      expect(response.status).toBe(status);
      expect(response.headers.get('x-should-retry')).toBe('false');
      expect(await response.json()).toEqual({
        error: { message: expect.any(String), type: 'invalid_request_error', param: null, code },
      });
    }
  });

  it('takes a POST without a body', async () => {
    const response = await app.request('/v1/chat/completions', { method: 'POST' });
    expect(response.status).toBe(400);
  });
});
