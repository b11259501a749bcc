import {
  type Attributes,
  type Context,
  context,
  type HrTime,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Tracer,
} from '@opentelemetry/api';
import type { AppEvent } from '../../src/app.ts';
import { ServeError } from '../../src/errors.ts';

export interface OpenTelemetryOptions {
  /** Makes the spans; by default that of the global provider, named `gemlet`. */
  readonly tracer?: Tracer;
}

/** The names that the GenAI conventions have for what a route does. */
const OPERATIONS = [
  { path: '/v1/chat/completions', name: 'chat' },
  { path: '/v1/completions', name: 'text_completion' },
] as const;

/**
 * Turns every ended request for completions into a span by OpenTelemetry's conventions for generative
 * AI, with children for queue, prefill and decode; other requests make none. Spans hold numbers and
 * names, never prompts or answers. The returned function never throws.
 * @example
 * const app = createApp({ completer, onEvent: openTelemetryEvents() });
 */
export function openTelemetryEvents(options: OpenTelemetryOptions = {}): (event: AppEvent) => void {
  const tracer = options.tracer ?? trace.getTracer('gemlet');
  return function openTelemetryEvent(event) {
    const operation = OPERATIONS.find(({ path }) => event.route === path);
    if (operation === undefined) return;
    try {
      writeSpans(tracer, event, operation.name);
    } catch {
      // Traces that fail must not take the log or the answer with them.
    }
  };
}

function writeSpans(tracer: Tracer, event: AppEvent, operation: string): void {
  const { parent, kind } = placeOf(event);
  const startTime = event.startedMs;
  const span = tracer.startSpan(
    `${operation} ${event.model}`,
    { kind, startTime: hrTime(startTime), attributes: attributesOf(event, operation) },
    parent,
  );
  // Refusals are the client's fault, which a server does not report as a failure of its own.
  if (event.outcome === 'error' && !isRefusal(event)) {
    span.setStatus({ code: SpanStatusCode.ERROR });
  }
  const inside = trace.setSpan(parent, span);
  for (const { name, fromMs, toMs } of phasesOf(event)) {
    const times = { kind: SpanKind.INTERNAL, startTime: hrTime(fromMs) };
    tracer.startSpan(name, times, inside).end(hrTime(toMs));
  }
  span.end(hrTime(startTime + event.e2eMs));
}

/**
 * A span that is active while the event comes, as of an instrumented HTTP server, is the parent; the
 * client's own span is where there is none.
 */
function placeOf({ traceparent }: AppEvent): { readonly parent: Context; readonly kind: SpanKind } {
  const active = context.active();
  if (trace.getSpan(active) !== undefined) return { parent: active, kind: SpanKind.INTERNAL };
  if (traceparent === null) return { parent: active, kind: SpanKind.SERVER };
  const [, traceId = '', spanId = '', flags = ''] = traceparent.split('-');
  const traceFlags = Number.parseInt(flags, 16) & TraceFlags.SAMPLED;
  const remote = { traceId, spanId, traceFlags, isRemote: true };
  return { parent: trace.setSpanContext(active, remote), kind: SpanKind.SERVER };
}

function attributesOf(event: AppEvent, operation: string): Attributes {
  return {
    'gen_ai.operation.name': operation,
    'gen_ai.provider.name': 'gemlet',
    'gen_ai.request.model': event.model,
    ...requestAttributes(event),
    ...responseAttributes(event),
    'http.response.status_code': event.status,
    'gemlet.outcome': event.outcome,
    'gemlet.request.id': event.requestId,
    ...(event.errorCode === null ? {} : { 'error.type': event.errorCode }),
  };
}

function requestAttributes({ completion, isStream }: AppEvent): Attributes {
  if (completion === null) return {};
  const { choiceCount, maxTokens, temperature, topP, topK, seed } = completion;
  return {
    'gen_ai.request.temperature': temperature,
    'gen_ai.request.top_p': topP,
    'gen_ai.request.seed': seed,
    // The conventions want these only where they say something.
    ...(topK === 0 ? {} : { 'gen_ai.request.top_k': topK }),
    ...(maxTokens === null ? {} : { 'gen_ai.request.max_tokens': maxTokens }),
    ...(choiceCount === 1 ? {} : { 'gen_ai.request.choice.count': choiceCount }),
    ...(isStream ? { 'gen_ai.request.stream': true } : {}),
  };
}

function responseAttributes({
  usage,
  finishReasons,
  model,
  ttftMs,
  isStream,
}: AppEvent): Attributes {
  if (usage === null || usage.promptTokens === 0) return {};
  const { promptTokens, cachedTokens, imageTokens, completionTokens } = usage;
  return {
    'gen_ai.response.model': model,
    'gen_ai.usage.input_tokens': promptTokens,
    'gen_ai.usage.cache_read.input_tokens': cachedTokens,
    ...(imageTokens === 0 ? {} : { 'gen_ai.usage.image.input_tokens': imageTokens }),
    // Choices that never finished are not counted: no number is better than a wrong one.
    ...(finishReasons.length === 0
      ? {}
      : {
          'gen_ai.usage.output_tokens': completionTokens,
          'gen_ai.response.finish_reasons': [...finishReasons],
        }),
    ...(isStream && ttftMs !== null
      ? { 'gen_ai.response.time_to_first_chunk': ttftMs / 1000 }
      : {}),
  };
}

/** Not by the status: what a stream fails with comes after its 200. */
function isRefusal({ error }: AppEvent): boolean {
  return ServeError.is(error) && error.status < 500;
}

interface Phase {
  readonly name: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * Queue and prefill end with the first token, decode begins there; what comes before the queue is
 * template, tokens and images. Of several choices these are the longest times.
 */
function phasesOf({ usage, startedMs, e2eMs, ttftMs, finishReasons }: AppEvent): readonly Phase[] {
  if (usage === null || finishReasons.length === 0) return [];
  const endMs = startedMs + e2eMs;
  const within = (atMs: number): number => Math.min(endMs, Math.max(startedMs, atMs));
  const firstMs = within(startedMs + (ttftMs ?? usage.queueMs + usage.prefillMs));
  const prefillMs = within(firstMs - usage.prefillMs);
  const phases = [
    { name: 'gemlet.queue', fromMs: within(prefillMs - usage.queueMs), toMs: prefillMs },
    { name: 'gemlet.prefill', fromMs: prefillMs, toMs: firstMs },
    { name: 'gemlet.decode', fromMs: firstMs, toMs: within(firstMs + usage.decodeMs) },
  ];
  return phases.filter(({ fromMs, toMs }) => toMs > fromMs);
}

/** SDKs guess whether a plain number counts from 1970 or from the start of the process. */
function hrTime(ms: number): HrTime {
  const micros = Math.round(ms * 1000);
  const seconds = Math.floor(micros / 1e6);
  return [seconds, (micros - seconds * 1e6) * 1000];
}
