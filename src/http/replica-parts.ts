import type { Context } from 'hono';
import { ServeError } from '../errors.ts';
import type { ReplicaAccess } from '../fleet/served-model.ts';
import { createVerifier, SIGNATURE_HEADER, type Verifier } from '../fleet/signing.ts';
import type { Clock } from '../lib/clock.ts';
import type { AppEnv } from './app-env.ts';

/** What the routes for gateways work with. */
export interface ReplicaParts {
  readonly access: ReplicaAccess;
  readonly verifier: Verifier;
  /** Drawn with the app: another one has another cache. */
  readonly id: string;
}

const MAX_BODY_BYTES = 1_000_000;

export function createReplicaParts(
  access: ReplicaAccess,
  keys: readonly string[],
  clock: Clock,
): ReplicaParts {
  return {
    access,
    verifier: createVerifier(keys, () => clock.now()),
    id: crypto.randomUUID(),
  };
}

/** @throws ServeError invalid_api_key unless a gateway with a fleet key signed exactly this */
export async function requireSignature(
  c: Context<AppEnv>,
  { verifier }: ReplicaParts,
  content: Uint8Array,
): Promise<void> {
  const header = c.req.header(SIGNATURE_HEADER) ?? null;
  await verifier.verify(c.req.method, c.req.path, header, content);
}

/** The signed JSON of a small request. @throws ServeError invalid_api_key, invalid_request */
export async function signedJson(c: Context<AppEnv>, parts: ReplicaParts): Promise<unknown> {
  const length = Number(c.req.header('content-length') ?? MAX_BODY_BYTES + 1);
  if (length > MAX_BODY_BYTES) {
    throw new ServeError('body_too_large', `The body may have ${MAX_BODY_BYTES} bytes.`);
  }
  const bytes = new Uint8Array(await c.req.arrayBuffer());
  await requireSignature(c, parts, bytes);
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new ServeError('invalid_request', 'The body is no JSON.', { cause });
  }
}
