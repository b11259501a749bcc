import {
  type Context,
  context,
  type ContextManager,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type Tracer,
} from '@opentelemetry/api';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { afterEach, describe, expect, it } from 'vitest';
import { openTelemetryEvents } from '../../adapters/otel/events.ts';
import type { AppEvent } from '../../src/app.ts';
import { ServeError } from '../../src/errors.ts';
import { type AppHarness, createAppHarness } from '../support/app-harness.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { STUB_CARD, type StubOptions } from '../support/stub-completer.ts';

const messages = [{ role: 'user', content: 'PROMPT' }];
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';
const STARTED_MS = 1_700_000_000_123;

interface Traced extends AppHarness {
  readonly tracer: Tracer;
  /** Spans in the order in which they ended. */
  readonly spans: () => ReadableSpan[];
}

/** An app whose completions start after 30 ms and say a token every 20 ms. */
function traced(stub: StubOptions = {}): Traced {
  const exporter = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  const tracer = provider.getTracer('test');
  const clock = createFakeClock(STARTED_MS);
  const gate = async (at: number): Promise<void> => clock.advance(at < 0 ? 30 : 20);
  const onEvent = openTelemetryEvents({ tracer });
  const harness = createAppHarness({ clock, onEvent }, { gate, ...stub });
  return { ...harness, tracer, spans: () => exporter.getFinishedSpans() };
}

function millis([seconds, nanos]: readonly [number, number]): number {
  return seconds * 1000 + nanos / 1e6 - STARTED_MS;
}

function only(spans: readonly ReadableSpan[], name: string): ReadableSpan {
  const found = spans.filter((span) => span.name === name);
  if (found.length !== 1 || found[0] === undefined) {
    throw new Error(`no one span ${name} in ${spans.map((span) => span.name).join(', ')}`);
  }
  return found[0];
}

const CHAT = `chat ${STUB_CARD.id}`;

describe('OpenTelemetry spans of requests', () => {
  afterEach(() => context.disable());

  it('follow the conventions for generative AI', async () => {
    const { send, spans } = traced();
    const asked = { temperature: 0.5, top_p: 0.25, top_k: 7, seed: 42, max_tokens: 2, n: 2 };
    await (await send('/v1/chat/completions', { messages, stream: true, ...asked })).text();
    const span = only(spans(), CHAT);
    expect(span.attributes).toEqual({
      'gen_ai.operation.name': 'chat',
      'gen_ai.provider.name': 'gemlet',
      'gen_ai.request.model': STUB_CARD.id,
      'gen_ai.request.temperature': 0.5,
      'gen_ai.request.top_p': 0.25,
      'gen_ai.request.top_k': 7,
      'gen_ai.request.seed': 42,
      'gen_ai.request.max_tokens': 2,
      'gen_ai.request.choice.count': 2,
      'gen_ai.request.stream': true,
      'gen_ai.response.model': STUB_CARD.id,
      'gen_ai.response.finish_reasons': ['length', 'length'],
      'gen_ai.response.time_to_first_chunk': 0.05,
      'gen_ai.usage.input_tokens': 13,
      'gen_ai.usage.cache_read.input_tokens': 11,
      'gen_ai.usage.output_tokens': 4,
      'http.response.status_code': 200,
      'gemlet.outcome': 'ok',
      'gemlet.request.id': expect.stringMatching(/^req_/),
    });
    expect(span.kind).toBe(SpanKind.SERVER);
    expect(span.status.code).toBe(SpanStatusCode.UNSET);
    expect([millis(span.startTime), millis(span.endTime)]).toEqual([0, 70]);
  });

  it('leave out what says nothing', async () => {
    const { send, spans } = traced();
    await send('/v1/completions', { prompt: 'a', top_k: 0 });
    const { attributes } = only(spans(), `text_completion ${STUB_CARD.id}`);
    expect(attributes['gen_ai.operation.name']).toBe('text_completion');
    for (const name of ['top_k', 'choice.count', 'stream']) {
      expect(attributes).not.toHaveProperty([`gen_ai.request.${name}`]);
    }
    expect(attributes).not.toHaveProperty(['gen_ai.response.time_to_first_chunk']);
  });

  it('hold queue, prefill and decode around the first token', async () => {
    const { send, spans } = traced();
    await send('/v1/chat/completions', { messages, max_tokens: 3 });
    const parent = only(spans(), CHAT).spanContext();
    const phases = ['queue', 'prefill', 'decode'].map((name) => {
      const span = only(spans(), `gemlet.${name}`);
      expect(span.parentSpanContext?.spanId).toBe(parent.spanId);
      expect(span.spanContext().traceId).toBe(parent.traceId);
      return [millis(span.startTime), millis(span.endTime)];
    });
    // The stub says: 1 ms in the queue, 2 ms prefill, 3 ms decode; its first token came after 50 ms.
    expect(phases).toEqual([
      [47, 48],
      [48, 50],
      [50, 53],
    ]);
  });

  it('are children of the span that the client sent', async () => {
    const { send, spans } = traced();
    const headers = { traceparent: `00-${TRACE}-${SPAN}-01` };
    await send('/v1/chat/completions', { messages }, { headers });
    const span = only(spans(), CHAT);
    expect(span.spanContext().traceId).toBe(TRACE);
    expect(span.parentSpanContext).toMatchObject({ spanId: SPAN, isRemote: true, traceFlags: 1 });
  });

  it('are not recorded where the client decided not to', async () => {
    const { send, spans } = traced();
    const headers = { traceparent: `00-${TRACE}-${SPAN}-00` };
    await send('/v1/chat/completions', { messages }, { headers });
    expect(spans()).toEqual([]);
  });

  it('are children of the active span, which knows the client already', async () => {
    const { send, spans, tracer } = traced();
    const server = tracer.startSpan('POST', { kind: SpanKind.SERVER });
    context.setGlobalContextManager(always(trace.setSpan(ROOT_CONTEXT, server)));
    const headers = { traceparent: `00-${TRACE}-${SPAN}-01` };
    await send('/v1/chat/completions', { messages }, { headers });
    const span = only(spans(), CHAT);
    expect(span.parentSpanContext?.spanId).toBe(server.spanContext().spanId);
    expect(span.kind).toBe(SpanKind.INTERNAL);
  });

  it('tell failures of the server from refusals and from clients who left', async () => {
    const failed = traced({ failAfter: { tokens: 1, error: new Error('broken') } });
    await failed.send('/v1/chat/completions', { messages });
    await (await failed.send('/v1/chat/completions', { messages, stream: true })).text();
    const error = new ServeError('invalid_image', 'no such image');
    const refused = traced({ failAfter: { tokens: 1, error } });
    await refused.send('/v1/chat/completions', { messages });
    await refused.send('/v1/chat/completions', { messages: 'x' });
    const left = traced();
    await (await left.send('/v1/chat/completions', { messages, stream: true })).body?.cancel();
    const facts = [failed, refused, left].map(({ spans }) =>
      spans().map(({ attributes, status }) => [
        attributes['error.type'],
        attributes['gemlet.outcome'],
        attributes['http.response.status_code'],
        status.code,
      ]),
    );
    expect(facts).toEqual([
      [
        ['internal', 'error', 500, SpanStatusCode.ERROR],
        ['internal', 'error', 200, SpanStatusCode.ERROR],
      ],
      [
        ['invalid_image', 'error', 400, SpanStatusCode.UNSET],
        ['invalid_request', 'error', 400, SpanStatusCode.UNSET],
      ],
      [[undefined, 'aborted', 200, SpanStatusCode.UNSET]],
    ]);
  });

  it('are made of completions only', async () => {
    const { send, spans } = traced();
    await send('/v1/models');
    await send('/nothing');
    expect(spans()).toEqual([]);
  });

  it('hold no prompt, answer or message of an error', async () => {
    const { send, spans } = traced({ failAfter: { tokens: 3, error: new Error('SECRET') } });
    const whole = traced({ reply: () => 'ANSWER' });
    await send('/v1/chat/completions', { messages });
    await whole.send('/v1/chat/completions', { messages });
    const texts = [...spans(), ...whole.spans()].map(({ name, attributes, events, status }) =>
      JSON.stringify([name, attributes, events, status]),
    );
    expect(texts.length).toBeGreaterThan(1);
    expect(texts.join()).not.toMatch(/PROMPT|ANSWER|SECRET/);
  });

  it('never throw, whatever the tracer does', () => {
    const onEvent = openTelemetryEvents({ tracer: { startSpan: refuse, startActiveSpan: refuse } });
    expect(() => onEvent(EVENT)).not.toThrow();
  });

  it('are made by the global provider when no tracer is given, and by nobody without one', () => {
    const { tracer, spans } = traced();
    const onEvent = openTelemetryEvents();
    onEvent(EVENT);
    trace.setGlobalTracerProvider({ getTracer: () => tracer });
    onEvent(EVENT);
    trace.disable();
    // A clock that stands at 1970 is believed, too.
    expect(spans()).toMatchObject([{ name: 'chat m', startTime: [0, 0], endTime: [0, 1e6] }]);
  });
});

function refuse(): never {
  throw new Error('no spans today');
}

const EVENT: AppEvent = {
  isProbe: false,
  keyId: null,
  type: 'request-end',
  requestId: 'req_1',
  method: 'POST',
  path: '/v1/chat/completions',
  route: '/v1/chat/completions',
  status: 200,
  outcome: 'ok',
  errorCode: null,
  error: null,
  startedMs: 0,
  e2eMs: 1,
  ttftMs: null,
  model: 'm',
  isStream: false,
  completion: null,
  finishReasons: [],
  usage: null,
  traceparent: null,
};

/** A context manager in which one context is always active. */
function always(active: Context): ContextManager {
  const manager: ContextManager = {
    active: () => active,
    with: (_context, task, self, ...rest) => task.call(self, ...rest),
    bind: (_context, target) => target,
    enable: () => manager,
    disable: () => manager,
  };
  return manager;
}
