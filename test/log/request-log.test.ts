import { describe, expect, it } from 'vitest';
import type { AppEvent } from '../../src/app.ts';
import { ServeError } from '../../src/errors.ts';
import { createRequestLog, type RequestLogOptions } from '../../src/log/request-log.ts';
import { createAppHarness } from '../support/app-harness.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { STUB_CARD } from '../support/stub-completer.ts';

const messages = [{ role: 'user', content: 'Hi' }];
const BASE: AppEvent = {
  type: 'request-end',
  requestId: 'req_1',
  method: 'POST',
  path: '/v1/chat/completions',
  route: '/v1/chat/completions',
  isProbe: false,
  keyId: null,
  status: 200,
  outcome: 'ok',
  errorCode: null,
  error: null,
  startedMs: 0,
  e2eMs: 12.345,
  ttftMs: null,
  model: '',
  isStream: false,
  completion: null,
  finishReasons: [],
  usage: null,
  traceparent: null,
};

type Record = { readonly [field: string]: unknown };

function open(options: Partial<RequestLogOptions> = {}): {
  readonly log: ReturnType<typeof createRequestLog>;
  readonly lines: string[];
  readonly records: () => Record[];
} {
  const lines: string[] = [];
  const log = createRequestLog({ write: (line) => void lines.push(line), ...options });
  return { log, lines, records: () => lines.map((line) => JSON.parse(line) as Record) };
}

function failed(error: ServeError, more: Partial<AppEvent> = {}): AppEvent {
  const { status, code: errorCode } = error;
  return { ...BASE, outcome: 'error', status, errorCode, error, ...more };
}

describe('a request log', () => {
  it('writes one line for a completion, with what it counted', async () => {
    const clock = createFakeClock(Date.UTC(2026, 0, 2, 3, 4, 5, 6));
    const { log, records } = open({ clock });
    const gate = async (at: number): Promise<void> => clock.advance(at < 0 ? 30 : 20);
    const { send } = createAppHarness({ onEvent: log, clock, apiKeys: ['a-key'] }, { gate });
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const headers = { authorization: 'Bearer a-key', traceparent, 'x-request-id': 'mine' };
    const asked = { messages, stream: true, max_tokens: 3, n: 2 };
    await (await send('/v1/chat/completions', asked, { headers })).text();
    expect(records()).toEqual([
      {
        time: '2026-01-02T03:04:05.096Z',
        event: 'request',
        level: 'info',
        request_id: 'mine',
        method: 'POST',
        route: '/v1/chat/completions',
        status: 200,
        outcome: 'ok',
        e2e_ms: 90,
        ttft_ms: 50,
        key_id: expect.stringMatching(/^[0-9a-f]{8}$/) as string,
        model: STUB_CARD.id,
        is_stream: true,
        choices: 2,
        max_tokens: 3,
        prompt_tokens: 9,
        cached_tokens: 7,
        completion_tokens: 6,
        queue_ms: 1,
        prefill_ms: 2,
        decode_ms: 3,
        finish_reasons: ['length', 'length'],
        trace_id: '0af7651916cd43dd8448eb211c80319c',
      },
    ]);
  });

  it('leaves out probes until they fail, and refuses to name what stands in a path', async () => {
    const { log, records } = open();
    const { send } = createAppHarness({
      onEvent: log,
      apiKeys: ['a-key'],
      metricsKeys: ['a-key'],
      pingPath: '/ping',
    });
    const headers = { authorization: 'Bearer a-key' };
    for (const path of ['/health/live', '/health/ready', '/health/startup', '/metrics', '/ping']) {
      expect((await send(path, undefined, { headers })).status).toBe(200);
    }
    expect(records()).toEqual([]);
    await send('/metrics');
    await send('/v1/sessions/private', undefined, { headers });
    await send('/v1/nothing?private', undefined, { headers });
    expect(records()).toMatchObject([
      { route: '/metrics', status: 401, error_code: 'invalid_api_key' },
      { route: '/v1/sessions/:id' },
      { path: '/v1/nothing', status: 404 },
    ]);
  });

  it.each([
    ['invalid_request', 'info'],
    ['invalid_api_key', 'info'],
    ['queue_full', 'warn'],
    ['model_loading', 'warn'],
    ['draining', 'warn'],
    ['upstream_unavailable', 'error'],
    ['out_of_memory', 'error'],
    ['internal', 'error'],
  ] as const)('takes %s for %s, also inside a stream that began well', (code, level) => {
    const { log, records } = open();
    log(failed(new ServeError(code, 'It did not work.')));
    log(failed(new ServeError(code, 'It did not work.'), { status: 200 }));
    expect(records()).toMatchObject([{ level }, { level, status: 200, error_code: code }]);
  });

  it('says how a request failed, down to the first cause', () => {
    const { log, records, lines } = open();
    const refused = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), {
      code: 'ECONNREFUSED',
      errno: -111,
      syscall: 'connect',
    });
    const both = new AggregateError([refused, new Error('and another')], 'all failed');
    const cause = new TypeError('fetch failed', { cause: both });
    log(failed(new ServeError('upstream_unavailable', 'It cannot be reached.', { cause })));
    expect(records()[0]?.['error']).toEqual({
      name: 'ServeError',
      code: 'upstream_unavailable',
      message: 'It cannot be reached.',
      cause: {
        name: 'TypeError',
        message: 'fetch failed',
        cause: {
          name: 'AggregateError',
          message: 'all failed',
          errors: [
            {
              name: 'Error',
              message: 'connect ECONNREFUSED 127.0.0.1:1',
              code: 'ECONNREFUSED',
              errno: -111,
              syscall: 'connect',
            },
            { name: 'Error', message: 'and another' },
          ],
        },
      },
    });
    const pretty = open({ format: 'pretty' });
    pretty.log(failed(new ServeError('upstream_unavailable', 'It cannot be reached.', { cause })));
    expect(pretty.lines[0]).toMatch(
      /error POST \/v1\/chat\/completions 503 error, 12 ms, req_1: .* <- Error ECONNREFUSED: connect/,
    );
    expect(lines).toHaveLength(1);
  });

  it('says where a defect was thrown, and what else may be thrown only by its kind', () => {
    const { log, records, lines } = open();
    const defect = { ...BASE, outcome: 'error', status: 500, errorCode: 'internal' } as const;
    log({ ...defect, error: new RangeError('a\n    at fake (b:1:1)') });
    log({ ...defect, error: { private: 'thing' } });
    expect(records()[0]?.['error']).toMatchObject({
      stack: expect.arrayContaining([expect.stringContaining('request-log.test.ts')]) as string[],
    });
    expect(lines[0]).not.toContain('"fake (b:1:1)"');
    expect(records()[1]?.['error']).toEqual({ name: 'NonError', message: 'object' });
  });

  it.each(['json', 'pretty'] as const)(
    'keeps to one bounded line of %s, whatever it is given',
    (format) => {
      const { log, lines } = open({ format });
      const nasty = '\r\n{"level":"error"}\u001b[31m\u2028\u0085\u202e\ud800"\\😀'.repeat(500);
      let error: Error = new Error(nasty);
      for (let depth = 0; depth < 30; depth++) {
        const parts = Array.from({ length: 30 }, () => new Error(nasty));
        error = new AggregateError(parts, nasty, { cause: error });
      }
      error.cause = new Error('a circle', { cause: error });
      const wrapped = new ServeError('internal', nasty, { cause: error });
      const rest = { path: nasty, route: null, method: nasty, requestId: nasty, model: nasty };
      log(failed(wrapped, rest));
      log({ type: 'failure', what: nasty, error, url: `https://a/${nasty}` });
      expect(lines).toHaveLength(2);
      for (const line of lines) {
        // oxlint-disable-next-line no-control-regex -- they are what must not be there
        expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202e]/);
        expect(new TextEncoder().encode(line).length).toBeLessThan(16_384);
        if (format === 'json') expect(JSON.parse(line)).toMatchObject({ level: 'error' });
      }
    },
  );

  it('writes equal failures once in ten seconds and counts the others', () => {
    const clock = createFakeClock(1_000);
    const { log, records } = open({ clock });
    const fail = (text: string): void => log({ type: 'kv-failed', error: new Error(text) });
    for (let count = 0; count < 5; count++) fail('down');
    fail('other');
    clock.advance(10_000);
    fail('down');
    expect(records()).toMatchObject([
      { event: 'failure', level: 'warn', error: { message: 'down' } },
      { error: { message: 'other' } },
      { error: { message: 'down' }, repeats: 4 },
    ]);
  });

  it('tells of parts that fail and not of those that work', () => {
    const { log, records } = open();
    const error = new Error('no');
    log({ type: 'step', decodeCount: 1, draftTokens: 0, chunkTokens: 0, durationMs: 1 });
    log({ type: 'load-begin' });
    log({ type: 'unload', error: null });
    log({ type: 'attempt-failed', failure: 'final', error });
    log({ type: 'session-moved' });
    expect(records()).toEqual([]);
    log({ type: 'step-failed', error });
    log({ type: 'load-failed', error });
    log({ type: 'attempt-failed', failure: 'lost', error });
    log({ type: 'replica-down', url: 'http://user:word@r0:1/?key=1', error });
    log({ type: 'replica-up', url: 'http://r0:1' });
    log({ type: 'session-write-failed', error });
    expect(records().map(({ level, what, url }) => [level, what, url])).toEqual([
      ['error', 'a step of the engine failed', undefined],
      ['error', 'loading the model failed; the next request tries again', undefined],
      ['warn', 'a replica was lost during a request', undefined],
      ['warn', 'a replica cannot be used', 'http://r0:1/'],
      ['info', 'a replica is back', 'http://r0:1'],
      ['warn', 'writing a session failed; it is tried again', undefined],
    ]);
  });

  it('counts the lines that could not be written, and never throws', () => {
    const lines: string[] = [];
    let state: 'full' | 'broken' | 'fine' = 'full';
    const log = createRequestLog({
      write(line) {
        if (state === 'broken') throw new Error('the pipe is closed');
        if (state === 'full') return false;
        lines.push(line);
        return true;
      },
    });
    log(BASE);
    state = 'broken';
    log(BASE);
    state = 'fine';
    log(BASE);
    log(BASE);
    const counts = lines.map((line) => (JSON.parse(line) as Record)['dropped_lines']);
    expect(counts).toEqual([2, undefined]);
  });

  it('is silent when it is off', () => {
    const { log, lines } = open({ format: 'off' });
    log(BASE);
    log({ type: 'failure', what: 'it', error: null });
    expect(lines).toEqual([]);
  });
});
