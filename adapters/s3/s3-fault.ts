import { ServeError } from '../../src/errors.ts';
import { PassingFailure } from '../../src/weights/web-attempt.ts';
import type { S3Location } from './s3-location.ts';

/** What was being done, for messages and for the rights it takes. */
export interface S3Action {
  /** IAM action, such as `s3:GetObject`. */
  readonly right: string;
  /** Key or prefix within the store. */
  readonly key: string;
  /** Bytes that each attempt sends: nothing tells how far they got. */
  readonly sentBytes?: number;
}

/** What is known of an error of the SDK. */
export interface S3Failure {
  /** S3's error code, such as `NoSuchKey`; the error's name where there was no answer. */
  readonly code: string;
  /** HTTP status; null when there was no answer. */
  readonly status: number | null;
  readonly headers: Readonly<Record<string, string>>;
}

/** Statuses and codes that a later attempt may not meet. */
const PASSING_STATUSES: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);
const PASSING_CODES: ReadonlySet<string> = new Set([
  // A write that met another one: asked again, it is decided.
  'ConditionalRequestConflict',
  'OperationAborted',
  'RequestTimeout',
  // The SDK has corrected its clock by the server's when we ask again.
  'RequestTimeTooSkewed',
  'SlowDown',
  'Throttling',
  'ThrottlingException',
]);
const WRONG_REGION: ReadonlySet<string> = new Set([
  'AuthorizationHeaderMalformed',
  'IllegalLocationConstraintException',
  'PermanentRedirect',
  'TemporaryRedirect',
]);

/** Reads what an error of the SDK says; never its message, which may repeat what was sent. */
export function readFailure(error: unknown): S3Failure {
  const { name, code, $metadata, $response } = (error ?? {}) as {
    readonly name?: unknown;
    readonly code?: unknown;
    readonly $metadata?: { readonly httpStatusCode?: unknown };
    readonly $response?: { readonly statusCode?: unknown; readonly headers?: unknown };
  };
  const status = $metadata?.httpStatusCode ?? $response?.statusCode;
  const headers = $response?.headers;
  return {
    // Network errors have their name in `code`: ECONNREFUSED, ENOTFOUND.
    code: word(typeof status === 'number' ? name : (code ?? name)),
    status: typeof status === 'number' ? status : null,
    headers: typeof headers === 'object' && headers !== null ? { ...headers } : {},
  };
}

/**
 * The error to throw for one of the SDK: a `PassingFailure` when it is worth another attempt, else a
 * ServeError that says what to set. Nothing of it shows a credential.
 */
export function explainFailure(location: S3Location, action: S3Action, error: unknown): Error {
  if (error instanceof PassingFailure || ServeError.is(error)) return error;
  const failure = readFailure(error);
  const { code, status } = failure;
  const cause = quotable(failure);
  if (code === 'CredentialsProviderError' || code === 'TokenProviderError') {
    return unavailable(
      `${location.name}: no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role`,
      cause,
    );
  }
  if (status === null) return new PassingFailure(`the connection failed (${code})`, { cause });
  if (PASSING_STATUSES.has(status) || PASSING_CODES.has(code)) {
    return new PassingFailure(`the server answered ${status} ${code}`, {
      cause,
      retryAfterMs: retryAfterMs(failure),
    });
  }
  return unavailable(`${location.name}: ${problem(location, action, failure)}`, cause);
}

/** What is wrong and how to mend it. */
function problem({ bucket }: S3Location, { right, key }: S3Action, failure: S3Failure): string {
  const { code, status, headers } = failure;
  const region = headers['x-amz-bucket-region'];
  if (code === 'NoSuchBucket') {
    return `there is no bucket ${bucket} (asked for ${key}); check its name, AWS_REGION and AWS_ENDPOINT_URL_S3`;
  }
  if (WRONG_REGION.has(code) || status === 301 || status === 307) {
    return `the bucket lies in another region (asked for ${key}); set AWS_REGION${region === undefined ? " to the bucket's region" : `=${word(region)}`}`;
  }
  if (code === 'InvalidAccessKeyId') {
    return `the server does not know this access key (asked for ${key}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL_S3 if it is another provider's`;
  }
  if (code === 'SignatureDoesNotMatch') {
    return `the secret does not belong to the access key (asked for ${key}); set AWS_SECRET_ACCESS_KEY`;
  }
  if (code === 'ExpiredToken' || code === 'InvalidToken' || code === 'TokenRefreshRequired') {
    return `the session has ended (${code}, asked for ${key}); log in again, or set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN anew`;
  }
  if (status === 401 || status === 403) {
    return `access to ${key} was refused (${code}); allow ${right} on it and s3:ListBucket on ${bucket} (without that an absent object is refused too), or use other credentials: AWS_ACCESS_KEY_ID, AWS_PROFILE`;
  }
  return `the server answered ${status} ${code} to ${right} of ${key}; check AWS_REGION and AWS_ENDPOINT_URL_S3`;
}

function retryAfterMs({ headers }: S3Failure): number | null {
  const seconds = Number(headers['retry-after'] ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : null;
}

/** A stand-in for the SDK's error, which holds the signed request and what the server repeats of it. */
function quotable({ code, status, headers }: S3Failure): Error {
  const id = headers['x-amz-request-id'];
  return new Error(
    `S3 ${status ?? 'without an answer'}: ${code}${id === undefined ? '' : `, request ${word(id)}`}`,
  );
}

/** A code or id as it may be shown: servers and proxies can put anything there. */
function word(text: unknown): string {
  return typeof text === 'string' && /^[\w.:-]{1,100}$/.test(text) ? text : 'unknown';
}

function unavailable(message: string, cause: Error): ServeError {
  return new ServeError('weights_unavailable', message, { cause });
}
