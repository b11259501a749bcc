import * as z from 'zod/mini';
import type { ReplicaStatus } from './affinity.ts';
import { isProgress } from './event-reader.ts';

const count = z.int().check(z.gte(0), z.lte(1_000_000));

const schema: z.ZodMiniType<ReplicaStatus> = z.object({
  replica: z.string().check(z.maxLength(128)),
  state: z.enum(['idle', 'loading', 'ready', 'draining', 'closed']),
  fingerprint: z.nullable(z.string().check(z.maxLength(256))),
  running: count,
  waiting: count,
  slots: count,
  progress: z.nullable(z.custom<NonNullable<ReplicaStatus['progress']>>(isProgress)),
});

/** What a replica says of itself. @returns null where it is no such thing @throws SyntaxError */
export function parseStatus(text: string): ReplicaStatus | null {
  const { success, data } = schema.safeParse(JSON.parse(text));
  return success ? data : null;
}
