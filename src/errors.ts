/** Every error a client can meet: one class, a closed set of codes, one table that picks the HTTP status. */

import type { BoundName } from './bounds.ts';

interface ErrorClass {
  readonly status: number;
  /** OpenAI's `error.type`. */
  readonly type: string;
  /** Whether the same request may succeed later; sent as `x-should-retry`. */
  readonly retryable: boolean;
}

export type ErrorCode =
  | 'invalid_request'
  | 'unsupported_parameter'
  | 'context_length_exceeded'
  | 'invalid_image'
  | 'image_too_large'
  | 'invalid_url'
  | 'invalid_api_key'
  | 'forbidden'
  | 'not_found'
  | 'model_not_found'
  | 'method_not_allowed'
  | 'body_too_large'
  | 'unsupported_media_type'
  | 'queue_full'
  | 'rate_limit_exceeded'
  | 'overloaded'
  | 'reader_stalled'
  | 'answer_timeout'
  | 'model_loading'
  | 'draining'
  | 'invalid_checkpoint'
  | 'unsupported_model'
  | 'weights_unavailable'
  | 'backend_unavailable'
  | 'out_of_memory'
  | 'upstream_unavailable'
  | 'internal';

const CODES: Readonly<Record<ErrorCode, ErrorClass>> = {
  invalid_request: { status: 400, type: 'invalid_request_error', retryable: false },
  unsupported_parameter: { status: 400, type: 'invalid_request_error', retryable: false },
  context_length_exceeded: { status: 400, type: 'invalid_request_error', retryable: false },
  invalid_image: { status: 400, type: 'invalid_request_error', retryable: false },
  image_too_large: { status: 400, type: 'invalid_request_error', retryable: false },
  invalid_url: { status: 400, type: 'invalid_request_error', retryable: false },
  invalid_api_key: { status: 401, type: 'authentication_error', retryable: false },
  forbidden: { status: 403, type: 'permission_error', retryable: false },
  not_found: { status: 404, type: 'invalid_request_error', retryable: false },
  model_not_found: { status: 404, type: 'invalid_request_error', retryable: false },
  method_not_allowed: { status: 405, type: 'invalid_request_error', retryable: false },
  body_too_large: { status: 413, type: 'invalid_request_error', retryable: false },
  unsupported_media_type: { status: 415, type: 'invalid_request_error', retryable: false },
  queue_full: { status: 429, type: 'rate_limit_error', retryable: true },
  rate_limit_exceeded: { status: 429, type: 'rate_limit_error', retryable: true },
  overloaded: { status: 503, type: 'server_error', retryable: true },
  reader_stalled: { status: 408, type: 'invalid_request_error', retryable: false },
  answer_timeout: { status: 504, type: 'server_error', retryable: false },
  model_loading: { status: 503, type: 'server_error', retryable: true },
  draining: { status: 503, type: 'server_error', retryable: true },
  invalid_checkpoint: { status: 500, type: 'server_error', retryable: false },
  unsupported_model: { status: 500, type: 'server_error', retryable: false },
  weights_unavailable: { status: 503, type: 'server_error', retryable: true },
  backend_unavailable: { status: 500, type: 'server_error', retryable: false },
  out_of_memory: { status: 503, type: 'server_error', retryable: false },
  upstream_unavailable: { status: 503, type: 'server_error', retryable: true },
  internal: { status: 500, type: 'server_error', retryable: false },
};

export interface ServeErrorOptions {
  /** Path of the offending request field, such as `messages[2].content[0].image_url`. */
  readonly param?: string | null;
  readonly cause?: unknown;
  /** Milliseconds after which a retry makes sense; at most 60,000, clients ignore more. */
  readonly retryAfterMs?: number;
  /** The bound that was passed; counted by the metrics. */
  readonly bound?: BoundName;
}

/** An error with a code from a closed set; what clients see of a failure. */
export class ServeError extends Error {
  /** Told apart by this tag, not `instanceof`: two copies of a bundle may meet. */
  readonly tag: string = 'gemlet.error';
  override readonly name: string = 'ServeError';
  readonly code: ErrorCode;
  readonly param: string | null;
  readonly retryAfterMs: number | undefined;
  readonly bound: BoundName | undefined;

  constructor(code: ErrorCode, message: string, options: ServeErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.param = options.param ?? null;
    this.retryAfterMs = options.retryAfterMs;
    this.bound = options.bound;
  }

  get status(): number {
    return CODES[this.code].status;
  }

  get type(): string {
    return CODES[this.code].type;
  }

  get retryable(): boolean {
    return CODES[this.code].retryable;
  }

  static isCode(code: string): code is ErrorCode {
    return Object.hasOwn(CODES, code);
  }

  static is(value: unknown): value is ServeError {
    return (
      typeof value === 'object' && value !== null && (value as ServeError).tag === 'gemlet.error'
    );
  }
}
