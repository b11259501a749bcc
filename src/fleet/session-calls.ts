import * as z from 'zod/mini';
import { ServeError } from '../errors.ts';
import type { SessionChange, SessionControl } from '../sessions/session.ts';

/** One operation on sessions, on its way from a gateway to a replica. */
export type SessionCall =
  | {
      readonly op: 'list';
      readonly tenant: string;
      readonly limit: number;
      readonly after: string | null;
    }
  | { readonly op: 'get' | 'remove'; readonly tenant: string; readonly id: string }
  | {
      readonly op: 'put';
      readonly tenant: string;
      readonly id: string;
      readonly change: SessionChange;
    }
  | {
      readonly op: 'fork';
      readonly tenant: string;
      readonly id: string;
      readonly newId: string | null;
    };

const tenant = z.string();
const id = z.string();

const schema: z.ZodMiniType<SessionCall> = z.discriminatedUnion('op', [
  z.object({
    op: z.literal('list'),
    tenant,
    limit: z.int().check(z.gte(1)),
    after: z.nullable(z.string()),
  }),
  z.object({ op: z.literal('get'), tenant, id }),
  z.object({
    op: z.literal('put'),
    tenant,
    id,
    change: z.object({
      metadata: z.exactOptional(z.record(z.string(), z.string())),
      ttlMs: z.exactOptional(z.number()),
    }),
  }),
  z.object({ op: z.literal('fork'), tenant, id, newId: z.nullable(z.string()) }),
  z.object({ op: z.literal('remove'), tenant, id }),
]);

/**
 * Does what a gateway asks for.
 * @returns `{ result }`
 * @throws ServeError invalid_request; what the sessions throw
 */
export async function runSessionCall(
  sessions: SessionControl,
  json: unknown,
  signal: AbortSignal,
): Promise<{ readonly result: unknown }> {
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    throw new ServeError('invalid_request', 'This is no operation on sessions.', {
      cause: parsed.error,
    });
  }
  return { result: await run(sessions, parsed.data, signal) };
}

function run(sessions: SessionControl, call: SessionCall, signal: AbortSignal): Promise<unknown> {
  switch (call.op) {
    case 'list':
      return sessions.list(call.tenant, { limit: call.limit, after: call.after }, signal);
    case 'get':
      return sessions.get(call.tenant, call.id, signal);
    case 'put':
      return sessions.put(call.tenant, call.id, call.change, signal);
    case 'fork':
      return sessions.fork(call.tenant, call.id, call.newId, signal);
    case 'remove':
      return sessions.remove(call.tenant, call.id, signal);
    default:
      return call satisfies never;
  }
}
