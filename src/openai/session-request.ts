import * as z from 'zod/mini';
import { SESSION_KEY, SESSION_KEY_RULE } from '../sessions/session-key.ts';
import type { SessionChange, SessionCursor, SessionMetadata } from '../sessions/session.ts';
import { integerField } from './fields.ts';
import { invalid, parseBody, parseFields } from './parse.ts';

const MAX_PAIRS = 16;
const MAX_NAME_CHARACTERS = 64;
const MAX_TEXT_CHARACTERS = 512;
/** A year: longer is forever, which is what no session is. */
const MAX_TTL_SECONDS = 365 * 24 * 60 * 60;
const DEFAULT_LIMIT = 20;
const MAX_LIMIT = 100;

interface ChangeFields {
  readonly metadata?: SessionMetadata | undefined;
  readonly ttl_seconds?: number | undefined;
}

const metadata = z.pipe(
  z
    .record(z.string(), z.unknown())
    .check(
      z.refine(
        (value) =>
          Object.keys(value).length <= MAX_PAIRS &&
          Object.keys(value).every((name) => name !== '' && name.length <= MAX_NAME_CHARACTERS),
        `must have at most ${MAX_PAIRS} names of 1 to ${MAX_NAME_CHARACTERS} characters`,
      ),
    ),
  z.record(z.string(), z.string().check(z.maxLength(MAX_TEXT_CHARACTERS))),
);

export const sessionChangeSchema: z.ZodMiniType<ChangeFields> = z.object({
  metadata: z.optional(metadata),
  ttl_seconds: integerField(
    1,
    MAX_TTL_SECONDS,
    'How long the session is kept, from now on and from each later use.',
  ),
});

interface ForkFields {
  readonly id?: string | undefined;
}

export const sessionForkSchema: z.ZodMiniType<ForkFields> = z.object({
  id: z.optional(
    z
      .string()
      .check(
        z.regex(SESSION_KEY, SESSION_KEY_RULE),
        z.describe('Of the new session; drawn if absent.'),
      ),
  ),
});

/** @throws ServeError invalid_request */
export function parseSessionChange(raw: unknown): SessionChange {
  const fields = parseFields(sessionChangeSchema, parseBody(raw));
  return {
    ...(fields.metadata === undefined ? {} : { metadata: fields.metadata }),
    ...(fields.ttl_seconds === undefined ? {} : { ttlMs: fields.ttl_seconds * 1000 }),
  };
}

/**
 * @returns the new session's id; null to draw one
 * @throws ServeError invalid_request
 */
export function parseSessionFork(raw: unknown): string | null {
  return parseFields(sessionForkSchema, parseBody(raw)).id ?? null;
}

/** @throws ServeError invalid_request */
export function parseSessionCursor(query: Readonly<Record<string, string>>): SessionCursor {
  const { limit: text = String(DEFAULT_LIMIT), after = null } = query;
  const limit = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (limit < 1 || limit > MAX_LIMIT) {
    throw invalid('limit', `must be an integer from 1 to ${MAX_LIMIT}`);
  }
  return { limit, after };
}
