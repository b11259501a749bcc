import { ServeError } from '../errors.ts';
import { PassingFailure } from './web-attempt.ts';

export interface WebOptions {
  readonly fetch: (url: URL, init: RequestInit) => Promise<Response>;
  /** Bearer token; sent to `tokenOrigin` only. */
  readonly token: string | null;
  readonly tokenOrigin: string;
  /** Follow redirects to http too; for loopback tests. */
  readonly allowHttp: boolean;
}

export interface WebRequest {
  readonly method: 'GET' | 'HEAD';
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether a redirect's own headers tell enough, so that it need not be followed. */
  readonly stopsAt?: (redirect: Response) => boolean;
}

export interface WebAnswer {
  readonly response: Response;
  /** Where the answer came from, after redirects. */
  readonly url: URL;
  readonly wasRedirected: boolean;
}

const MAX_REDIRECTS = 5;

/** One request. Redirects are followed by hand, so that the token never reaches another host. */
export async function webRequest(
  options: WebOptions,
  start: URL,
  request: WebRequest,
  signal: AbortSignal,
): Promise<WebAnswer> {
  let url = start;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const isOwn = url.origin === options.tokenOrigin;
    const response = await options.fetch(url, {
      method: request.method,
      redirect: 'manual',
      signal,
      headers: {
        ...request.headers,
        // A compressed answer has other lengths and ranges than the object.
        'accept-encoding': 'identity',
        ...(options.token !== null && isOwn ? { authorization: `Bearer ${options.token}` } : {}),
      },
    });
    const target = response.headers.get('location');
    const isRedirect = response.status >= 300 && response.status < 400 && target !== null;
    if (!isRedirect || request.stopsAt?.(response) === true) {
      return { response, url, wasRedirected: hop > 0 };
    }
    await response.body?.cancel();
    url = new URL(target, url);
    if (url.protocol !== 'https:' && !(options.allowHttp && url.protocol === 'http:')) {
      throw new ServeError('weights_unavailable', `${shown(start)} redirects to ${url.protocol}`);
    }
  }
  throw new ServeError('weights_unavailable', `${shown(start)} redirects too often`);
}

/** Statuses that a later attempt may not meet. */
const PASSING: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);

/** @throws PassingFailure when the answer's status is one that may pass */
export function throwIfPassing({ response, url }: WebAnswer): void {
  if (!PASSING.has(response.status)) return;
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  throw new PassingFailure(`${url.host} answered ${response.status}`, {
    retryAfterMs: Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : null,
  });
}

/** A URL for messages: signed queries stay out. */
function shown(url: URL): string {
  return `${url.origin}${url.pathname}`;
}
