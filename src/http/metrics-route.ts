import type { Handler } from 'hono';
import type { ServingMetrics } from '../metrics/serving-metrics.ts';
import type { AppEnv } from './app-env.ts';

/** `GET /metrics`, for Prometheus. */
export function metricsRoute(metrics: ServingMetrics): Handler<AppEnv> {
  return function metricsHandler(c) {
    return c.body(metrics.text(), 200, {
      'content-type': 'text/plain; version=0.0.4; charset=utf-8',
      'cache-control': 'no-store',
    });
  };
}
