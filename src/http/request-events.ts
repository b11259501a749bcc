import type { Context, MiddlewareHandler } from 'hono';
import { matchedRoutes } from 'hono/route';
import type { Completer, CompletionRequest } from '../completer.ts';
import type { FinishReason } from '../engine/engine.ts';
import type { ErrorCode } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { BodyBudget } from '../limits/body-budget.ts';
import type { CompletionMeter, ServingMetrics } from '../metrics/serving-metrics.ts';
import { toServeError } from '../openai/error-body.ts';
import type { SseEnd } from '../openai/sse.ts';
import { addUsage, createUsage, type Usage } from '../openai/usage.ts';
import type { AppEnv } from './app-env.ts';
import { validTraceparent } from './traceparent.ts';

/** Structured events for logs and traces; never with prompts, answers or keys. */
export type AppEvent = RequestEndEvent;

export interface RequestEndEvent {
  readonly type: 'request-end';
  readonly requestId: string;
  readonly method: string;
  readonly path: string;
  /** Pattern of the route, such as `/v1/models/:id`; null where none matched. */
  readonly route: string | null;
  /** It asks how the server is: health checks, metrics, a gateway's look at its replica. */
  readonly isProbe: boolean;
  /** First hex digits of the SHA-256 of the API key that was let in; null where there are none. */
  readonly keyId: string | null;
  /** 499 when the client went away before an answer began. */
  readonly status: number;
  readonly outcome: 'ok' | 'error' | 'aborted';
  readonly errorCode: ErrorCode | null;
  /** What was thrown, for the operator's log; clients saw at most its code and message. */
  readonly error: unknown;
  /** Milliseconds since 1970 at which the request came in. */
  readonly startedMs: number;
  /** Request in to last byte handed over; of a job, to its end. */
  readonly e2eMs: number;
  /** Request in to first token; null when there was none. */
  readonly ttftMs: number | null;
  /** Id of the served model; '' while it is not known. */
  readonly model: string;
  /** Whether the answer was a stream. */
  readonly isStream: boolean;
  /** What was asked for; null when no completion began. */
  readonly completion: RequestedCompletion | null;
  /** Of the choices that finished, in the order in which they did. */
  readonly finishReasons: readonly FinishReason[];
  /** null on routes without completions. */
  readonly usage: Readonly<Usage> | null;
  /** The trace the client is in, as W3C's `traceparent`; null unless it sent a valid one. */
  readonly traceparent: string | null;
}

/** Numbers of a request for completions, defaults filled in. All its prompts have the same. */
export interface RequestedCompletion {
  /** Choices for each prompt. */
  readonly choiceCount: number;
  /** null: what is left of the context, at most the model's default. */
  readonly maxTokens: number | null;
  readonly temperature: number;
  readonly topP: number;
  /** 0 is off. */
  readonly topK: number;
  /** The client's, or the one that was drawn for it. */
  readonly seed: number;
}

/** What is told of a request for completions. */
export type MeteredRequest = Pick<CompletionRequest, 'choiceCount' | 'sampling'>;

/** What the handling of one request adds to its event. */
export interface RequestTrace {
  /** Counts, made on first use. */
  usage(): Usage;
  /** Follows one completion; a request of several prompts has several. */
  meter(request: MeteredRequest): CompletionMeter;
  /** Forgets what was counted: the work begins anew. */
  restart(): void;
  /** The answer comes after the response: the event waits for the returned function to be called. */
  defer(answer: 'stream' | 'job'): (end: SseEnd) => void;
}

export interface RequestEventsOptions {
  readonly clock: Clock;
  readonly completer: Completer;
  /** null where nobody counts. */
  readonly metrics: ServingMetrics | null;
  readonly onEvent: ((event: AppEvent) => void) | undefined;
  readonly bodies: BodyBudget;
  /** Paths that only probes ask for. */
  readonly probePaths: ReadonlySet<string>;
}

/** Enough to tell keys apart, too few to be taken for one. */
const KEY_ID_DIGITS = 8;

/** Reports the end of every request to the metrics and to `onEvent`. */
export function requestEvents(options: RequestEventsOptions): MiddlewareHandler<AppEnv> {
  const { clock, completer, metrics, onEvent, bodies, probePaths } = options;
  return async function requestEventsMiddleware(c, next) {
    const startedMs = clock.now();
    const body = bodies.lease();
    c.set('body', body);
    const finishReasons: FinishReason[] = [];
    let usage: Usage | null = null;
    let completion: RequestedCompletion | null = null;
    let ttftMs: number | null = null;
    let deferred: 'stream' | 'job' | null = null;
    let status: number | null = null;
    /** A job may end before the response to its request is there. */
    let early: SseEnd | null = null;

    const report = (end: SseEnd): void => {
      if (status === null) {
        early = end;
        return;
      }
      body.release();
      const error = end.outcome === 'error' ? end.error : null;
      const event: RequestEndEvent = {
        type: 'request-end',
        requestId: c.get('requestId'),
        method: c.req.method,
        path: c.req.path,
        route: routeOf(c),
        isProbe: probePaths.has(c.req.path),
        keyId: c.get('tenant')?.slice(0, KEY_ID_DIGITS) ?? null,
        status,
        outcome: end.outcome,
        errorCode: end.outcome === 'error' ? toServeError(error).code : null,
        error,
        startedMs,
        e2eMs: clock.now() - startedMs,
        ttftMs,
        model: modelId(completer),
        isStream: deferred === 'stream',
        completion,
        finishReasons,
        usage,
        traceparent: validTraceparent(c.req.header('traceparent')),
      };
      metrics?.requestEnd(event);
      try {
        onEvent?.(event);
      } catch {
        // A broken log must not break the answer, and src has nowhere else to report it.
      }
    };

    const counts = (): Usage => (usage ??= createUsage());
    c.set('trace', {
      usage: counts,
      meter(request) {
        completion ??= requestedCompletion(request);
        const meter = metrics?.meter(request.choiceCount, startedMs);
        return {
          add(event, nowMs) {
            addUsage(counts(), event);
            // The first delta has a token, or text of a completer that reports none.
            if (event.type === 'delta') ttftMs ??= nowMs - startedMs;
            else if (event.type === 'finish') finishReasons.push(event.reason);
            meter?.add(event, nowMs);
          },
          end: (reason) => meter?.end(reason),
        };
      },
      restart() {
        usage = null;
        finishReasons.length = 0;
      },
      defer(answer) {
        deferred = answer;
        return report;
      },
    });
    await next();
    status = c.res.status;
    if (deferred !== null) {
      if (early !== null) report(early);
      return;
    }
    if (status === 499) report({ outcome: 'aborted' });
    else if (c.error === undefined) report({ outcome: 'ok' });
    else report({ outcome: 'error', error: c.error });
  };
}

/** A request may end before its model is known. */
function modelId(completer: Completer): string {
  try {
    return completer.model.id;
  } catch {
    return '';
  }
}

function requestedCompletion({ choiceCount, sampling }: MeteredRequest): RequestedCompletion {
  const { maxTokens, temperature, topP, topK, seed } = sampling;
  return { choiceCount, maxTokens, temperature, topP, topK, seed };
}

/** The pattern without its regular expressions; where only middleware matched there is none. */
function routeOf(c: Context<AppEnv>): string | null {
  const path = matchedRoutes(c).at(-1)?.path ?? '*';
  return path.endsWith('*') ? null : path.replaceAll(/\{[^}]*\}/g, '');
}
