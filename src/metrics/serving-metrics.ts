import type { Completer, CompletionEvent, CompleterState } from '../completer.ts';
import type { RequestEndEvent } from '../http/request-events.ts';
import { engineFamilies } from './engine-families.ts';
import {
  createCounter,
  createHistogram,
  createReading,
  metricsText,
  type Family,
  type Histogram,
} from './registry.ts';

/** Metrics of one app: names of vLLM where it has one, so that its dashboards work. */
export interface ServingMetrics {
  /** Follows the completions of one request. @param startedMs when it came in */
  meter(startedMs: number): CompletionMeter;
  /** Counts a request that has ended. */
  requestEnd(event: RequestEndEvent): void;
  /** All metrics in Prometheus' text format. */
  text(): string;
}

export interface CompletionMeter {
  /** Takes one event at the time it passes. */
  add(event: CompletionEvent, nowMs: number): void;
}

/** Seconds; the bounds that vLLM uses, so that its recording rules fit. */
const TTFT_SECONDS = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
  160, 640, 2560,
];
const TOKEN_SECONDS = [
  0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
];
const REQUEST_SECONDS = [
  0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
];
/** Tokens: 1, 2, 5, 10 and so on up to the largest context. */
const TOKEN_COUNTS = [0, 1, 2, 3, 4, 5].flatMap((power) => [1, 2, 5].map((n) => n * 10 ** power));

const STATES: readonly CompleterState[] = ['loading', 'ready', 'draining', 'closed'];

function seconds(name: string, help: string, bounds: readonly number[]): Histogram & Family {
  return createHistogram(`vllm:${name}_seconds`, help, bounds);
}

/**
 * @param paths of the routes: others are counted as one, or strangers could make labels without end
 */
export function createServingMetrics(
  completer: Completer,
  paths: readonly string[],
): ServingMetrics {
  const ttft = seconds('time_to_first_token', 'Request in to first token.', TTFT_SECONDS);
  const gaps = seconds('inter_token_latency', 'Between tokens of one answer.', TOKEN_SECONDS);
  const perToken = seconds(
    'request_time_per_output_token',
    'Decode time of an answer by its tokens after the first.',
    TOKEN_SECONDS,
  );
  const e2e = seconds('e2e_request_latency', 'Request in to last byte.', REQUEST_SECONDS);
  const queue = seconds('request_queue_time', 'Waiting for a row.', REQUEST_SECONDS);
  const prefill = seconds('request_prefill_time', 'Row to first token.', REQUEST_SECONDS);
  const decode = seconds('request_decode_time', 'First to last token.', REQUEST_SECONDS);
  const inference = seconds('request_inference_time', 'Row to last token.', REQUEST_SECONDS);
  const promptSizes = createHistogram(
    'vllm:request_prompt_tokens',
    'Prompt tokens of a request.',
    TOKEN_COUNTS,
  );
  const answerSizes = createHistogram(
    'vllm:request_generation_tokens',
    'Tokens of an answer.',
    TOKEN_COUNTS,
  );
  const promptTokens = createCounter('vllm:prompt_tokens_total', 'Prompt tokens.');
  const answerTokens = createCounter('vllm:generation_tokens_total', 'Tokens generated.');
  const successes = createCounter('vllm:request_success_total', 'Answers that came to their end.');
  const requests = createCounter('gemlet_http_requests_total', 'HTTP requests that have ended.');
  const state = createReading('gemlet_state', 'Whether the server is in this state.', 'gauge', () =>
    STATES.map((name) => ({
      labels: { state: name },
      value: completer.state === name ? 1 : 0,
    })),
  );
  const families = [
    ...engineFamilies(completer),
    ttft,
    gaps,
    perToken,
    e2e,
    queue,
    prefill,
    decode,
    inference,
    promptSizes,
    answerSizes,
    promptTokens,
    answerTokens,
    successes,
    requests,
    state,
  ];

  function finish(event: Extract<CompletionEvent, { type: 'finish' }>): void {
    const { queueMs, prefillMs, decodeMs } = event.timings;
    queue.observe(queueMs / 1000);
    prefill.observe(prefillMs / 1000);
    decode.observe(decodeMs / 1000);
    inference.observe((prefillMs + decodeMs) / 1000);
    if (event.completionTokens > 1)
      perToken.observe(decodeMs / 1000 / (event.completionTokens - 1));
    answerSizes.observe(event.completionTokens);
    successes.add(1, { finished_reason: event.reason });
  }

  return {
    meter(startedMs) {
      /** When each choice's newest token came. */
      const newestMs: (number | undefined)[] = [];
      return {
        add(event, nowMs) {
          if (event.type === 'start') {
            promptTokens.add(event.promptTokens);
            promptSizes.observe(event.promptTokens);
          } else if (event.type === 'finish') {
            finish(event);
          } else if (event.tokens.length > 0) {
            const before = newestMs[event.index];
            // The first token of each choice is what its reader waited for.
            if (before === undefined) ttft.observe(Math.max(0, nowMs - startedMs) / 1000);
            else gaps.observe(Math.max(0, nowMs - before) / 1000);
            newestMs[event.index] = nowMs;
            answerTokens.add(event.tokens.length);
          }
        },
      };
    },
    requestEnd(event) {
      const path = paths.includes(event.path) ? event.path : 'other';
      const { outcome } = event;
      requests.add(1, { path, status: String(event.status), outcome });
      if (event.usage !== null && outcome === 'ok') e2e.observe(event.e2eMs / 1000);
    },
    text: () => metricsText(families, { model_name: completer.model.id }),
  };
}
