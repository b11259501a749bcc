import { afterAll, describe, expect, it } from 'vitest';
import { createUpstreamCompleter } from '../../adapters/openai/completer.ts';
import { createApp, type AppOptions } from '../../src/app.ts';
import type { Completer } from '../../src/completer.ts';
import { createSafeFetch } from '../../src/image/safe-fetch.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createRequestLog, type RequestLog } from '../../src/log/request-log.ts';
import { createFakeEngineCompleter } from '../support/fake-engine-completer.ts';
import { startFakeUpstream } from '../support/fake-upstream.ts';
import {
  createTestFleet,
  createTestGateway,
  firstReplica,
  plainTable,
} from '../support/fleet-harness.ts';

const CANARY = 'zanzibar-canary';
/** Such as a client sends; long, so that it would be cut in the middle. */
const PROMPT = `Tell me of ${CANARY}\nand of ${CANARY} again. `.repeat(3);
const SIGNED = `https://${CANARY}.example.com/${CANARY}.png?X-Amz-Signature=${CANARY}&a=b#${CANARY}`;
const IN_BASE64 = Buffer.from(CANARY.repeat(20)).toString('base64');
const KEY = `key-of-${CANARY}`;

const closing: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const close of closing) await close();
});

interface Logged {
  readonly lines: readonly string[];
  readonly log: RequestLog;
  readonly post: (body: unknown, path?: string, headers?: Record<string, string>) => Promise<void>;
}

/** What an app over the completer logs in one format. */
function logged(
  format: 'json' | 'pretty',
  open: (log: RequestLog) => Completer,
  options: Partial<AppOptions> = {},
): Logged {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const log = createRequestLog({ format, write, secrets: [KEY] });
  const completer = open(log);
  closing.push(() => completer.close());
  const app = createApp({ completer, onEvent: log, ...options });
  return {
    lines,
    log,
    async post(body, path = '/v1/chat/completions', headers = {}) {
      const response = await app.request(path, {
        method: 'POST',
        body: typeof body === 'string' ? body : JSON.stringify(body),
        headers: { 'content-type': 'application/json', authorization: `Bearer ${KEY}`, ...headers },
      });
      await response.text();
    },
  };
}

function chat(text: unknown, more: object = {}): object {
  return { messages: [{ role: 'user', content: text }], max_tokens: 2, ...more };
}

function picture(url: string): object {
  return chat([
    { type: 'text', text: PROMPT },
    { type: 'image_url', image_url: { url } },
  ]);
}

function expectSilence(lines: readonly string[], atLeast: number): void {
  expect(lines.length).toBeGreaterThanOrEqual(atLeast);
  const all = lines.join('\n');
  expect(all.toLowerCase()).not.toContain(CANARY);
  expect(all).not.toContain('canary');
  expect(all).not.toContain(IN_BASE64.slice(0, 20));
  expect(lines.every((line) => !line.includes('\n'))).toBe(true);
}

describe.each(['json', 'pretty'] as const)('a log as %s', (format) => {
  it('holds nothing of what clients send, whether it goes well or not', async () => {
    const { lines, post } = logged(format, () => createFakeEngineCompleter().completer, {
      apiKeys: [KEY],
    });
    const session = { 'x-session-id': CANARY };
    await post(chat(PROMPT, { stop: CANARY, user: CANARY, cache_salt: CANARY }));
    await post(chat(PROMPT, { stream: true }), undefined, session);
    await post({ prompt: PROMPT, max_tokens: 1, echo: true }, '/v1/completions');
    await post(`{"messages": "${PROMPT}`);
    await post(`{"messages": [${CANARY}]}`);
    await post(chat(PROMPT), undefined, { 'content-type': `text/${CANARY}` });
    await post(chat(PROMPT), undefined, { authorization: `Bearer ${CANARY}` });
    await post(chat(PROMPT), undefined, { 'x-session-id': `${CANARY}\u00e9` });
    await post({ messages: [{ role: CANARY, content: CANARY }] });
    await post({ messages: [{ role: 'user', content: [{ type: CANARY, [CANARY]: CANARY }] }] });
    await post(chat(PROMPT, { logit_bias: { [CANARY]: 1 } }));
    await post(chat(PROMPT, { logit_bias: { [CANARY]: CANARY } }));
    await post(chat(PROMPT, { tools: [{ name: CANARY }], model: CANARY }));
    await post(chat(PROMPT, { model: CANARY }));
    await post(chat(PROMPT.repeat(200)));
    await post(picture(`data:image/png;base64,${IN_BASE64}`));
    await post(picture(`data:image/png;base64,${CANARY}!${CANARY}`));
    await post(picture(`data:${CANARY}${CANARY}`));
    await post(picture(SIGNED));
    await post(picture(`${CANARY.replace('-', '')}:${CANARY}`));
    await post({}, `/v1/nothing?token=${CANARY}`);
    await post({}, `/v1/sessions/${CANARY}`);
    await post({}, `/v1/models/${CANARY}`);
    await post({}, `/v1/jobs/${CANARY}`);
    expectSilence(lines, 24);
    expect(lines.filter((line) => /\b(200|202)\b/.test(line)).length).toBeGreaterThanOrEqual(3);
    for (const code of ['invalid_request', 'invalid_image', 'invalid_url', 'invalid_api_key']) {
      expect(lines.some((line) => line.includes(code))).toBe(true);
    }
  });

  it('holds nothing of a URL that could not be fetched', async () => {
    const fetchUrl = createSafeFetch({
      request: (url) => Promise.reject(new TypeError(`fetch of ${url.href} failed: ${url.search}`)),
      maxBytes: 100,
      timeoutMs: 10_000,
    });
    const fleet = createTestFleet(1);
    const { lines, post } = logged(format, (onEvent) =>
      createTestGateway(fleet, firstReplica(['http://r0']), plainTable(), { fetchUrl, onEvent }),
    );
    await post(picture(SIGNED));
    await post(picture(`https://user:${CANARY}@example.com/a`));
    await post(picture(`${CANARY.replace('-', '')}:${CANARY}`));
    await post(picture(`https://${CANARY} not a url ?${CANARY}`));
    expectSilence(lines, 3);
    expect(lines.some((line) => line.includes('could not be reached'))).toBe(true);
  });

  it('holds nothing of a request whose replica was lost, or says what it should not', async () => {
    const fleet = createTestFleet(2);
    const urls = fleet.replicas.map(({ url }) => url);
    const { lines, post } = logged(format, (onEvent) =>
      createTestGateway(
        {
          async fetch(url, init) {
            if (!url.startsWith('http://r0') || !url.endsWith('/generate')) {
              return fleet.fetch(url, init);
            }
            return new Response(`{"type": "${CANARY}", ${PROMPT}\n`);
          },
        },
        firstReplica(urls),
        plainTable(),
        { onEvent, coldMs: 100 },
      ),
    );
    await post(chat(PROMPT));
    for (const replica of fleet.replicas) replica.kill();
    await post(chat(PROMPT));
    expectSilence(lines, 4);
    expect(lines.some((line) => line.includes('a replica was lost during a request'))).toBe(true);
    expect(lines.some((line) => line.includes('said what no replica says'))).toBe(true);
    expect(lines.some((line) => line.includes('fetch failed'))).toBe(true);
  });

  it.each([
    [500, { error: { message: `cannot render "${PROMPT}" with ${KEY}`, type: 'E' } }],
    [400, { detail: [{ msg: `bad ${PROMPT.slice(5, 60)}`, input: { prompt: PROMPT } }] }],
    [422, { error: `token ${CANARY} at ${SIGNED} is bad: ${PROMPT}`, error_type: 'validation' }],
    [503, `<html>${PROMPT}</html>`],
    [404, { error: { message: `${PROMPT} is nowhere` } }],
  ])('holds nothing of what an upstream server repeats in its %i', async (status, body) => {
    const failures = Array.from({ length: 3 }, () => ({ status, body }));
    const upstream = await startFakeUpstream({ kind: 'vllm', failures });
    closing.push(() => upstream.close());
    const { lines, post } = logged(format, (onEvent) =>
      createUpstreamCompleter({
        baseUrl: `${upstream.url}/v1`,
        clock: systemClock,
        maxAttempts: 1,
        apiKey: KEY,
        onEvent,
      }),
    );
    await post(chat([{ type: 'text', text: PROMPT }]));
    expectSilence(lines, 1);
    expect(lines[0]).toContain(`the engine answered ${status}`);
  });

  it('holds nothing that runtimes quote, and no secret of its own', () => {
    const { lines, log } = logged(format, () => createFakeEngineCompleter().completer);
    const parse = thrown(() => JSON.parse(`{"a": ${PROMPT}}`));
    const header = thrown(() => new Headers({ a: `${CANARY}\n${CANARY}` }));
    const url = thrown(() => new URL(`${CANARY}?${CANARY}`));
    const plain = new Error(
      `GET ${SIGNED.replaceAll(`${CANARY}.`, '')} and ${KEY} and Bearer ${CANARY}`,
    );
    const all = new AggregateError([parse, header], 'many', { cause: url });
    for (const error of [parse, header, url, plain, all, new Error('outer', { cause: all })]) {
      log({ type: 'failure', what: 'a test', error });
    }
    expectSilence(lines, 4);
  });
});

function thrown(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error('it did not throw');
}
