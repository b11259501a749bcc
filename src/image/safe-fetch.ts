import { ServeError } from '../errors.ts';
import { withParam } from './image-error.ts';
import { checkUrl, type UrlPolicy } from './safe-url.ts';
import { checkByteLength } from './sniff.ts';

/**
 * Sends one request and does not follow redirects: the part of a safe fetch that needs a runtime.
 * It must refuse, with a ServeError, to connect to addresses the policy does not allow, check TLS
 * certificates, and send nothing but what it is given. Other failures may reject with anything.
 */
export type SafeRequest = (url: URL, init: SafeRequestInit) => Promise<SafeResponse>;

export interface SafeRequestInit {
  readonly headers: Readonly<Record<string, string>>;
  /** Makes it a POST. */
  readonly body?: Uint8Array<ArrayBuffer>;
  readonly policy: UrlPolicy;
  /** Aborts the request and its body. */
  readonly signal: AbortSignal;
}

export interface SafeResponse {
  readonly status: number;
  /** Value of a header by its lower-case name. */
  header(name: string): string | null;
  /** As sent, never decompressed; may be read once. */
  readonly body: AsyncIterable<Uint8Array>;
  /** Drops the connection; also after the body has been read. */
  close(): void;
}

export interface SafeFetchOptions extends UrlPolicy {
  readonly request: SafeRequest;
  /** Longest body, in bytes. */
  readonly maxBytes: number;
  /** Over everything: resolving, connecting, redirects, the last byte. */
  readonly timeoutMs: number;
  /** 3 by default. */
  readonly maxRedirects?: number;
}

/**
 * Fetches a URL that a user gave.
 * @throws ServeError invalid_url, invalid_image (no usable answer), image_too_large, with `param`;
 *   the signal's reason on abort. Messages hold nothing of the URL, the addresses or the answer.
 */
export type SafeFetch = (
  url: string,
  options?: {
    readonly param?: string;
    readonly signal?: AbortSignal;
    /** Called with the most bytes that are to come, before they do. */
    readonly reserve?: (sizeBytes: number) => Promise<void>;
  },
) => Promise<Uint8Array>;

type Reserve = ((sizeBytes: number) => Promise<void>) | undefined;

/** No cookie, no referrer, no authorization; compression is refused, for it hides the size. */
const HEADERS: Readonly<Record<string, string>> = {
  accept: 'image/*',
  'accept-encoding': 'identity',
  'user-agent': 'gemlet',
};
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Creates the fetch for URLs that users give: bounded in size, time and reach. */
export function createSafeFetch(options: SafeFetchOptions): SafeFetch {
  return async (text, { param, signal, reserve } = {}) => {
    signal?.throwIfAborted();
    const timeout = AbortSignal.timeout(options.timeoutMs);
    const combined = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
    try {
      return await follow(text, options, combined, reserve);
    } catch (error) {
      signal?.throwIfAborted();
      const known = explain(error, timeout, options.timeoutMs);
      throw param === undefined ? known : withParam(known, param);
    }
  };
}

async function follow(
  text: string,
  options: SafeFetchOptions,
  signal: AbortSignal,
  reserve: Reserve,
): Promise<Uint8Array> {
  const maxRedirects = options.maxRedirects ?? 3;
  let url = checkUrl(text, options);
  for (let redirects = 0; ; redirects += 1) {
    const response = await options.request(url, { headers: HEADERS, policy: options, signal });
    try {
      if (!REDIRECTS.has(response.status)) {
        return await readBody(response, options, signal, reserve);
      }
      if (redirects === maxRedirects) {
        throw failed(`it was redirected more than ${maxRedirects} times.`);
      }
      // The next one is checked like the first: a public host may point anywhere.
      url = checkUrl(resolveLocation(response.header('location'), url), options);
    } finally {
      response.close();
    }
  }
}

function resolveLocation(location: string | null, base: URL): string {
  if (location === null) throw failed('it was redirected to nowhere.');
  try {
    return new URL(location, base).href;
  } catch (cause) {
    throw failed('it was redirected to a malformed URL.', cause);
  }
}

async function readBody(
  response: SafeResponse,
  options: SafeFetchOptions,
  signal: AbortSignal,
  reserve: Reserve,
): Promise<Uint8Array> {
  if (response.status !== 200) {
    throw failed(`its server answered ${response.status} and not 200.`);
  }
  const encoding = response.header('content-encoding')?.trim().toLowerCase() ?? '';
  if (encoding !== '' && encoding !== 'identity') {
    throw failed('its server sent it compressed, although asked not to.');
  }
  // Not a number where the length is not announced; every comparison with it is false.
  const announced = Number(response.header('content-length') ?? Number.NaN);
  if (announced > options.maxBytes) checkByteLength(announced, options);
  // Nothing of the body is read before there is room for all of it.
  await reserve?.(announced >= 0 ? announced : options.maxBytes);
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of response.body) {
    signal.throwIfAborted();
    total += chunk.length;
    checkByteLength(total, options);
    chunks.push(chunk);
  }
  signal.throwIfAborted();
  if (total < announced) throw failed('its server broke off before the end.');
  return join(chunks, total);
}

function join(chunks: readonly Uint8Array[], total: number): Uint8Array {
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** Own errors pass; whatever a runtime throws is replaced, as it names hosts and addresses. */
function explain(error: unknown, timeout: AbortSignal, timeoutMs: number): unknown {
  if (ServeError.is(error)) return error;
  if (timeout.aborted) {
    return failed(`fetching it took longer than ${timeoutMs / 1000} s.`, error);
  }
  return failed('its server could not be reached, or broke off.', withoutUrl(error));
}

/** Causes go to logs, which signed URLs must not: some runtimes repeat them. */
function withoutUrl(error: unknown): unknown {
  if (!(error instanceof Error) || !error.message.includes('://')) return error;
  return new Error(error.message.replaceAll(/\S+:\/\/\S+/g, 'the URL'));
}

function failed(problem: string, cause?: unknown): ServeError {
  return new ServeError('invalid_image', `The image URL could not be fetched: ${problem}`, {
    cause,
  });
}
