import type { BodyBudget } from '../limits/body-budget.ts';
import { BOUNDS } from '../bounds.ts';
import type { Completer, CompletionEvent, CompleterState } from '../completer.ts';
import { ServeError } from '../errors.ts';
import { serverState } from '../fleet/fleet-state.ts';
import { engineFamilies } from './engine-families.ts';
import { fleetFamilies } from './fleet-families.ts';
import {
  createCounter,
  createHistogram,
  createLabelledCounter,
  createReading,
  metricsText,
  type Family,
  type Histogram,
} from './registry.ts';

/** Metrics of one app: names of vLLM where it has one, so that its dashboards work. */
export interface ServingMetrics {
  /** Follows one completion. @param startedMs when its HTTP request came in */
  meter(choiceCount: number, startedMs: number): CompletionMeter;
  /** Counts a request that has ended. */
  requestEnd(request: EndedRequest): void;
  /** Counts a request that was refused at the door. */
  refused(why: Refusal): void;
  /** All metrics in Prometheus' text format. */
  text(): string;
}

export interface CompletionMeter {
  /** Takes one event at the time it passes. */
  add(event: CompletionEvent, nowMs: number): void;
  /** Once, when no event follows: choices that never finished count as `reason`. */
  end(reason: 'abort' | 'error'): void;
}

export interface EndedRequest {
  readonly method: string;
  /** Pattern of the route; null where none matched. */
  readonly route: string | null;
  readonly status: number;
  readonly outcome: 'ok' | 'error' | 'aborted';
  readonly e2eMs: number;
  /** What was asked for; null when no completion began. */
  readonly completion: object | null;
  /** What it failed with; of interest is the bound that was passed. */
  readonly error: unknown;
}

/** Why requests are refused before the routes see them. */
const REFUSALS = ['host', 'wrong_keys', 'rate_requests', 'rate_tokens'] as const;
export type Refusal = (typeof REFUSALS)[number];

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

/** Why choices end: the first two by themselves. */
const REASONS = ['stop', 'length', 'abort', 'error'];
/** Others are counted as one, like paths without a route: strangers could make labels without end. */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

const STATES: readonly CompleterState[] = ['idle', 'loading', 'ready', 'draining', 'closed'];

function seconds(name: string, help: string, bounds: readonly number[]): Histogram & Family {
  return createHistogram(`vllm:${name}_seconds`, help, bounds);
}

export function createServingMetrics(completer: Completer, bodies: BodyBudget): ServingMetrics {
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
  const successes = createLabelledCounter(
    'vllm:request_success_total',
    'Answers that ended, by why: stop and length are the whole ones.',
    REASONS.map((reason) => ({ finished_reason: reason })),
  );
  const requests = createLabelledCounter(
    'gemlet_http_requests_total',
    'HTTP requests that have ended.',
  );
  const refusals = createLabelledCounter(
    'gemlet_refused_requests_total',
    'Requests refused before any work, by what was too much or not allowed.',
    REFUSALS.map((reason) => ({ reason })),
  );
  const exceeded = createLabelledCounter(
    'gemlet_bounds_exceeded_total',
    'Requests refused or given up, by the bound that they passed.',
    Object.keys(BOUNDS).map((bound) => ({ bound })),
  );
  const held = createReading(
    'gemlet_body_bytes',
    'Bytes of the bodies of requests under way.',
    'gauge',
    () => [{ value: bodies.heldBytes }],
  );
  const state = createReading('gemlet_state', 'Whether the server is in this state.', 'gauge', () =>
    STATES.map((name) => ({
      labels: { state: name },
      value: serverState(completer) === name ? 1 : 0,
    })),
  );
  const families = [
    ...engineFamilies(completer),
    ...fleetFamilies(completer),
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
    refusals,
    exceeded,
    held,
    state,
  ];

  /** A prompt is never empty: 0 is one whose size is told later. */
  function prompt(tokens: number): void {
    if (tokens === 0) return;
    promptTokens.add(tokens);
    promptSizes.observe(tokens);
  }

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
    meter(choiceCount, startedMs) {
      /** When each choice's newest token came; NaN before its first. */
      const newestMs = new Float64Array(choiceCount).fill(Number.NaN);
      let hasStarted = false;
      let unfinished = choiceCount;
      return {
        add(event, nowMs) {
          if (event.type === 'start') {
            hasStarted = true;
            prompt(event.promptTokens);
          } else if (event.type === 'finish') {
            unfinished--;
            finish(event);
            prompt(event.late?.promptTokens ?? 0);
          } else if (event.tokens.length > 0) {
            const beforeMs = newestMs[event.index] ?? Number.NaN;
            // The first token of each choice is what its reader waited for.
            if (Number.isNaN(beforeMs)) ttft.observe(Math.max(0, nowMs - startedMs) / 1000);
            else gaps.observe(Math.max(0, nowMs - beforeMs) / 1000);
            newestMs[event.index] = nowMs;
            answerTokens.add(event.tokens.length);
          }
        },
        end(reason) {
          // What failed before it started was refused: the status of its request tells that.
          if (unfinished === 0 || (reason === 'error' && !hasStarted)) return;
          successes.add(unfinished, { finished_reason: reason });
        },
      };
    },
    requestEnd({ method, route, status, outcome, e2eMs, completion, error }) {
      const known = METHODS.has(method) ? method : 'other';
      const path = route ?? 'other';
      requests.add(1, { method: known, path, status: String(status), outcome });
      if (ServeError.is(error) && error.bound !== undefined) {
        exceeded.add(1, { bound: error.bound });
      }
      if (completion !== null && outcome === 'ok') e2e.observe(Math.max(0, e2eMs) / 1000);
    },
    refused: (why) => refusals.add(1, { reason: why }),
    text: () => metricsText(families, { model_name: modelName(completer) }),
  };
}

/** '' while it is not known: what is counted is there all the same. */
function modelName(completer: Completer): string {
  try {
    return completer.model.id;
  } catch {
    return '';
  }
}
