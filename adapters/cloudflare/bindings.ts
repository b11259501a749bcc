import type { R2BucketLike } from '../r2/r2-bucket.ts';

/** What the Worker finds in its environment: bindings, variables and secrets of wrangler.toml. */
export interface WorkerEnv {
  /** The model's bundle, and the pictures to be captioned. */
  readonly MODELS: R2BucketLike;
  readonly SESSIONS: ObjectNamespaceLike;
  /** Optional: refuses callers that come too often. */
  readonly LIMITER?: RateLimitLike;
  /** Variables and secrets, see `parseSettings`. */
  readonly [name: string]: unknown;
}

/** What is used of a namespace of Durable Objects; Cloudflare's own fits, as for all below. */
export interface ObjectNamespaceLike {
  idFromName(name: string): unknown;
  // A method, so that Cloudflare's, which takes only its own ids, fits.
  get(id: unknown): { fetch(url: string, init: RequestInit): Promise<Response> };
}

export interface ObjectStateLike {
  readonly storage: ObjectStorageLike;
  /** Holds other events back until `work` is done. */
  blockConcurrencyWhile<T>(work: () => Promise<T>): Promise<T>;
}

export interface ObjectStorageLike {
  get(key: string): Promise<unknown>;
  put(key: string, value: unknown): Promise<void>;
  deleteAll(): Promise<void>;
  /** null when none is set, and while it runs. */
  getAlarm(): Promise<number | null>;
  /** @param timeMs since 1970 */
  setAlarm(timeMs: number): Promise<void>;
  deleteAlarm(): Promise<void>;
}

export interface ExecutionContextLike {
  /** Keeps the event alive until `work` settles, at most 30 s after its answer. */
  waitUntil(work: Promise<unknown>): void;
}

export interface RateLimitLike {
  limit(options: { readonly key: string }): Promise<{ readonly success: boolean }>;
}

export interface MessageBatchLike {
  readonly messages: readonly MessageLike[];
}

export interface MessageLike {
  readonly id: string;
  /** Deliveries so far, this one included. */
  readonly attempts: number;
  readonly body: unknown;
  ack(): void;
  retry(options?: { readonly delaySeconds?: number }): void;
}
