import type { MiddlewareHandler } from 'hono';
import type { ErrorCode } from '../errors.ts';
import type { CompletionMeter, ServingMetrics } from '../metrics/serving-metrics.ts';
import type { Clock } from '../lib/clock.ts';
import { toServeError } from '../openai/error-body.ts';
import type { SseEnd } from '../openai/sse.ts';
import { createUsage, type Usage } from '../openai/usage.ts';
import type { AppEnv } from './app-env.ts';

/** Structured events for logs and metrics; never with prompts, answers or keys. */
export type AppEvent = RequestEndEvent;

export interface RequestEndEvent {
  readonly type: 'request-end';
  readonly requestId: string;
  readonly method: string;
  readonly path: string;
  /** 499 when the client went away before an answer began. */
  readonly status: number;
  readonly outcome: 'ok' | 'error' | 'aborted';
  readonly errorCode: ErrorCode | null;
  /** What was thrown, for the operator's log; clients saw at most its code and message. */
  readonly error: unknown;
  /** Request in to last byte handed over. */
  readonly e2eMs: number;
  /** Request in to first text; null when there was none. */
  readonly ttftMs: number | null;
  /** null on routes without completions. */
  readonly usage: Readonly<Usage> | null;
}

/** What the handling of one request adds to its event. */
export interface RequestTrace {
  /** Counts, made on first use. */
  usage(): Usage;
  /** Follows the request's completions for metrics. */
  readonly meter: CompletionMeter;
  /** Notes the first text; later calls change nothing. */
  markFirstText(): void;
  /** The answer is a stream: the event waits for the returned function to be called. */
  defer(): (end: SseEnd) => void;
}

/** Reports the end of every request to the metrics and to `onEvent`. */
export function requestEvents(
  clock: Clock,
  metrics: ServingMetrics,
  onEvent: ((event: AppEvent) => void) | undefined,
): MiddlewareHandler<AppEnv> {
  return async function requestEventsMiddleware(c, next) {
    const startedMs = clock.now();
    let usage: Usage | null = null;
    let ttftMs: number | null = null;
    let deferred = false;
    let status = 200;

    const report = (end: SseEnd): void => {
      const error = end.outcome === 'error' ? end.error : null;
      const event: RequestEndEvent = {
        type: 'request-end',
        requestId: c.get('requestId'),
        method: c.req.method,
        path: c.req.path,
        status,
        outcome: end.outcome,
        errorCode: end.outcome === 'error' ? toServeError(error).code : null,
        error,
        e2eMs: clock.now() - startedMs,
        ttftMs,
        usage,
      };
      metrics.requestEnd(event);
      try {
        onEvent?.(event);
      } catch {
        // A broken log must not break the answer, and src has nowhere else to report it.
      }
    };

    c.set('trace', {
      usage: () => (usage ??= createUsage()),
      meter: metrics.meter(startedMs),
      markFirstText() {
        ttftMs ??= clock.now() - startedMs;
      },
      defer() {
        deferred = true;
        return report;
      },
    });
    await next();
    status = c.res.status;
    if (deferred) return;
    if (status === 499) report({ outcome: 'aborted' });
    else if (c.error === undefined) report({ outcome: 'ok' });
    else report({ outcome: 'error', error: c.error });
  };
}
