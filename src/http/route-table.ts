import type { Handler, Hono } from 'hono';
import { ServeError } from '../errors.ts';
import { toServeError } from '../openai/error-body.ts';
import type { AppEnv } from './app-env.ts';
import { errorResponse } from './error-response.ts';

/** A path with a method it answers; GET paths answer HEAD too. */
export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly handler: Handler<AppEnv>;
}

const ALLOW: Readonly<Record<Route['method'], string>> = {
  GET: 'GET, HEAD',
  POST: 'POST',
  PUT: 'PUT',
  DELETE: 'DELETE',
};

/** Adds routes, with 405 for other methods on their paths and 404 for all other paths. */
export function addRoutes(app: Hono<AppEnv>, routes: readonly Route[]): void {
  const paths = new Map<string, Route['method'][]>();
  for (const { method, path, handler } of routes) {
    app.on(method, path, throwingErrors(handler));
    paths.set(path, [...(paths.get(path) ?? []), method]);
  }
  const known = [...paths.keys()].map((path) => path.replace(/\{.*\}/, '')).join(', ');
  const notFound = (path: string): Response => {
    const message = `There is no ${printable(path)}; known paths: ${known}.`;
    return errorResponse(new ServeError('not_found', message), { path });
  };
  for (const [path, methods] of paths) {
    const allow = methods.map((method) => `${ALLOW[method]}, `).join('') + 'OPTIONS';
    app.all(path, (c) => {
      if (c.req.method === 'OPTIONS') return c.body(null, 204, { allow });
      // `models/x:generateContent` is a call of Gemini's API, not a method on a model of ours.
      if (/:[a-zA-Z]+$/.test(c.req.path)) return notFound(c.req.path);
      const error = new ServeError('method_not_allowed', `This path answers ${allow} only.`);
      return errorResponse(error, { path: c.req.path, headers: { allow } });
    });
  }
  app.notFound((c) => notFound(c.req.path));
}

/** Hono hands only instances of Error to onError; an abort's reason may be any value. */
function throwingErrors(handler: Handler<AppEnv>): Handler<AppEnv> {
  return async function route(c, next) {
    try {
      return await handler(c, next);
    } catch (error) {
      throw error instanceof Error ? error : toServeError(error);
    }
  };
}

/** A path as a client sent it, short enough for a message. */
function printable(path: string): string {
  return path.length > 100 ? `${path.slice(0, 100)}…` : path;
}
