import type { MiddlewareHandler } from 'hono';
import type { AppEnv } from './app-env.ts';

/** What an inbound id may look like before it is trusted in logs and headers. */
const VALID_ID = /^[\w.:/+=-]{1,128}$/;

/** Takes over a well-formed `x-request-id` or makes one, and echoes it on every answer. */
export function requestId(): MiddlewareHandler<AppEnv> {
  return async function requestIdMiddleware(c, next) {
    const inbound = c.req.header('x-request-id');
    const id =
      inbound !== undefined && VALID_ID.test(inbound)
        ? inbound
        : `req_${crypto.randomUUID().replaceAll('-', '')}`;
    c.set('requestId', id);
    await next();
    c.header('x-request-id', id);
  };
}
