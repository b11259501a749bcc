import type { Context } from 'hono';
import { ServeError } from '../errors.ts';
import type { ReplicaAccess } from '../fleet/served-model.ts';
import {
  createVerifier,
  SIGNATURE_HEADER,
  type SignedContent,
  type Verifier,
} from '../fleet/signing.ts';
import { createByteReader } from '../lib/byte-reader.ts';
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
const NOTHING = new Uint8Array(0);

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

/**
 * Nothing of what was sent is read before this: whoever has no fleet key must not cost memory.
 * @throws ServeError invalid_api_key unless a gateway with a fleet key signed the request
 */
export function requireSignature(
  c: Context<AppEnv>,
  { verifier }: ReplicaParts,
): Promise<SignedContent> {
  return verifier.admit(c.req.method, c.req.path, c.req.header(SIGNATURE_HEADER) ?? null);
}

/** For requests without a body. @throws ServeError invalid_api_key */
export async function requireSignedNothing(c: Context<AppEnv>, parts: ReplicaParts): Promise<void> {
  await (await requireSignature(c, parts)).check(NOTHING);
}

/** The signed JSON of a small request. @throws ServeError invalid_api_key, invalid_request */
export async function signedJson(c: Context<AppEnv>, parts: ReplicaParts): Promise<unknown> {
  const signed = await requireSignature(c, parts);
  if (signed.sizeBytes > MAX_BODY_BYTES) {
    throw new ServeError('body_too_large', `The body may have ${MAX_BODY_BYTES} bytes.`);
  }
  const bytes = await readSigned(c.req.raw.body, signed.sizeBytes);
  await signed.check(bytes);
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new ServeError('invalid_request', 'The body is no JSON.', { cause });
  }
}

/** A body of exactly the length that was signed. @throws ServeError invalid_request */
async function readSigned(
  stream: ReadableStream<Uint8Array> | null,
  sizeBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  if (stream === null) return new Uint8Array(0);
  const reader = createByteReader(stream);
  try {
    return await reader.exactly(sizeBytes);
  } catch (error) {
    throw error instanceof RangeError ? cutOff(error) : error;
  } finally {
    // A longer one than was signed is not read to its end.
    void reader.cancel(null).catch(() => undefined);
  }
}

export function cutOff(cause: unknown): ServeError {
  return new ServeError('invalid_request', 'The call was cut off on its way.', { cause });
}
