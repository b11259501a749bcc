import type { Handler } from 'hono';
import { openApiDocument } from '../openai/openapi.ts';
import type { AppEnv, AppParts } from './app-env.ts';

/** `GET /openapi.json`. */
export function openApiRoute(parts: AppParts): Handler<AppEnv> {
  return function openApiHandler(c) {
    return c.json(openApiDocument(parts.completer.model));
  };
}
