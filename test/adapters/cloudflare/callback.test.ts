import { createHmac } from 'node:crypto';
import { expect, it } from 'vitest';
import { sendCallback } from '../../../adapters/cloudflare/callback.ts';
import type { SafeRequest, SafeRequestInit } from '../../../src/image/safe-fetch.ts';

const SECRET = `whsec_${Buffer.from('a secret of 24 bytes, yes').toString('base64')}`;
const { signal } = new AbortController();

function answering(status: number): {
  readonly request: SafeRequest;
  readonly sent: { readonly url: string; readonly init: SafeRequestInit }[];
} {
  const sent: { url: string; init: SafeRequestInit }[] = [];
  return {
    sent,
    async request(url, init) {
      sent.push({ url: url.href, init });
      return {
        status,
        header: () => null,
        body: new Blob([]).stream(),
        close: () => undefined,
      };
    },
  };
}

it('signs what it sends as Standard Webhooks says, with one id for one content', async () => {
  const { request, sent } = answering(204);
  const options = { secret: SECRET, nowMs: 1_700_000_000_500, request };
  await sendCallback('https://hooks.example.com/a', { text: 'grün' }, options, signal);
  await sendCallback('https://hooks.example.com/a', { text: 'grün' }, options, signal);
  await sendCallback('https://hooks.example.com/a', { text: 'rot' }, options, signal);
  const [first, again, other] = sent.map(({ init }) => init);
  const id = first?.headers['webhook-id'] ?? '';
  const body = Buffer.from(first?.body ?? []).toString();
  expect(body).toBe('{"text":"grün"}');
  expect(first?.headers['webhook-timestamp']).toBe('1700000000');
  const key = Buffer.from(SECRET.slice(6), 'base64');
  const expected = createHmac('sha256', key).update(`${id}.1700000000.${body}`).digest('base64');
  expect(first?.headers['webhook-signature']).toBe(`v1,${expected}`);
  expect(again?.headers['webhook-id']).toBe(id);
  expect(other?.headers['webhook-id']).not.toBe(id);
});

it('goes nowhere private', async () => {
  const { request, sent } = answering(200);
  for (const url of ['http://example.com/', 'https://127.0.0.1/', 'https://metadata.internal/']) {
    const sending = sendCallback(url, {}, { secret: null, nowMs: 0, request }, signal);
    await expect(sending).rejects.toMatchObject({ code: 'invalid_url' });
  }
  expect(sent).toEqual([]);
});

it.each([
  [302, 'invalid_request'],
  [404, 'invalid_request'],
  [429, 'upstream_unavailable'],
  [503, 'upstream_unavailable'],
])('tells by the status %i whether another try may help', async (status, code) => {
  const { request } = answering(status);
  const sending = sendCallback(
    'https://example.com/',
    {},
    { secret: null, nowMs: 0, request },
    signal,
  );
  await expect(sending).rejects.toMatchObject({ code });
});
