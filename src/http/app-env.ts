import type { Context } from 'hono';
import type { Completer } from '../completer.ts';
import type { Jobs } from '../jobs.ts';
import type { Clock } from '../lib/clock.ts';
import type { BodyLease } from '../limits/body-budget.ts';
import type { AcceptedModels, RequestContext, RequestLimits } from '../openai/request-context.ts';
import { headerSessionKey } from '../sessions/session-key.ts';
import type { ColdTiming, Hold } from './cold.ts';
import type { RequestTrace } from './request-events.ts';

/** What middleware leaves on Hono's context for the routes. */
export interface AppEnv {
  /** What a server hands over beside the request; other members are the platform's own. */
  Bindings: ClientInfo;
  Variables: {
    requestId: string;
    trace: RequestTrace;
    /** What is held of the request's body, until its answer is over. */
    body: BodyLease;
    /** Who was let in, see `keyAuth`; absent where everyone is. */
    tenant?: string;
  };
}

/** What a server knows of a request's sender. */
export interface ClientInfo {
  /** Address of the other end of the connection; absent where the server does not say. */
  readonly clientAddress?: string;
}

/** What the routes work with; made once per app. */
export interface AppParts {
  readonly completer: Completer;
  readonly limits: RequestLimits;
  readonly clock: Clock;
  readonly randomSeed: () => number;
  /** Other names that clients may call the model by. */
  readonly models: AcceptedModels;
  /** Of the program; '' where it is not told. */
  readonly version: string;
  readonly stream: StreamTiming;
  readonly cold: ColdTiming;
  readonly jobs: Jobs;
  /** Milliseconds that one answer may take, waiting included. */
  readonly requestTimeoutMs: number;
}

export interface StreamTiming {
  /** Milliseconds a stream waits for its first event before it commits to status 200. */
  readonly graceMs: number;
  /** Milliseconds of silence after which a stream sends a comment line. */
  readonly heartbeatMs: number;
}

/** The model card is read per request: a completer may learn it while it loads. */
export async function requestContext(
  c: Context<AppEnv>,
  parts: AppParts,
  hold: Hold,
): Promise<RequestContext> {
  const { limits, models, randomSeed } = parts;
  const sessionKey = headerSessionKey(c.req.raw.headers);
  const card = await hold.card();
  return { card, models, limits, randomSeed, tenant: tenantOf(c), sessionKey };
}

/** Who was let in; '' where everyone is. */
export function tenantOf(c: Context<AppEnv>): string {
  return c.get('tenant') ?? '';
}
