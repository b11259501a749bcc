import type { Handler } from 'hono';
import { openApiDocument } from '../openai/openapi.ts';
import type { AppEnv, AppParts } from './app-env.ts';
import { createHold } from './cold.ts';

/** `GET /openapi.json`. */
export function openApiRoute(parts: AppParts): Handler<AppEnv> {
  return async function openApiHandler(c) {
    const card = await createHold(parts, c.req.raw.signal).card();
    return c.json(openApiDocument(card));
  };
}
