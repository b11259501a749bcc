import { lookup as systemLookup } from 'node:dns/promises';
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { createSafeFetch, type SafeFetch, type SafeRequest } from '../../src/image/safe-fetch.ts';
import { hostOf, isAllowedAddress, notPublic, type UrlPolicy } from '../../src/image/safe-url.ts';
import { DEFAULT_IMAGE_LIMITS } from '../../src/image/sniff.ts';

/** All addresses of a host name; at least one, or a rejection. */
export type ResolveHost = (host: string) => Promise<readonly ResolvedAddress[]>;

export interface ResolvedAddress {
  readonly address: string;
  readonly family: number;
}

export interface NodeSafeFetchOptions extends UrlPolicy {
  /** Longest body; 20 MB by default. */
  readonly maxBytes?: number;
  /** 10 s by default. */
  readonly timeoutMs?: number;
  readonly maxRedirects?: number;
  /** The operating system's resolver by default. */
  readonly resolve?: ResolveHost;
}

/** A {@link SafeFetch} that connects only to addresses it has checked itself. */
export function createNodeSafeFetch(options: NodeSafeFetchOptions = {}): SafeFetch {
  const { resolve, maxBytes, timeoutMs, ...policy } = options;
  return createSafeFetch({
    ...policy,
    request: createNodeRequest(resolve),
    maxBytes: maxBytes ?? DEFAULT_IMAGE_LIMITS.maxBytes,
    timeoutMs: timeoutMs ?? 10_000,
  });
}

/**
 * The request behind {@link createNodeSafeFetch}. Each name is resolved once, every address it has
 * must be allowed, and the connection goes to those addresses: a second answer of the resolver
 * (DNS rebinding) is never asked for. Proxy settings are ignored and connections are not reused.
 */
export function createNodeRequest(resolve: ResolveHost = resolveBySystem): SafeRequest {
  return async (url, { headers, body, policy, signal }) => {
    const host = hostOf(url);
    const addresses = await untilAborted(resolveAllowed(host, resolve, policy), signal);
    const isHttps = url.protocol === 'https:';
    const options: RequestOptions & { rejectUnauthorized?: true } = {
      method: body === undefined ? 'GET' : 'POST',
      headers: { ...headers, connection: 'close' },
      agent: false,
      lookup: pinnedLookup(addresses),
      signal,
      insecureHTTPParser: false,
      // Said here so that NODE_TLS_REJECT_UNAUTHORIZED=0 cannot switch it off.
      ...(isHttps ? { rejectUnauthorized: true } : {}),
    };
    const response = await send(isHttps ? httpsRequest : httpRequest, url, options, body);
    return {
      status: response.statusCode ?? 0,
      header: (name) => {
        const value = response.headers[name];
        return value === undefined ? null : String(value);
      },
      body: response,
      close(): void {
        response.destroy();
      },
    };
  };
}

async function resolveAllowed(
  host: string,
  resolve: ResolveHost,
  policy: UrlPolicy,
): Promise<readonly ResolvedAddress[]> {
  const family = isIP(host);
  let addresses: readonly ResolvedAddress[];
  try {
    addresses = family === 0 ? await resolve(host) : [{ address: host, family }];
  } catch {
    // Not passed on as the cause: a name that does not exist and one that is private look alike.
    throw notPublic();
  }
  const areFine = addresses.every(({ address }) => isAllowedAddress(address, policy));
  if (addresses.length === 0 || !areFine) throw notPublic();
  return addresses;
}

const resolveBySystem: ResolveHost = (host) => systemLookup(host, { all: true });

/** Answers with the checked addresses, whatever name is asked for. */
function pinnedLookup(addresses: readonly ResolvedAddress[]): LookupFunction {
  return (_host, options, callback) => {
    const first = addresses[0] as ResolvedAddress;
    if (options.all === true) callback(null, [...addresses]);
    else callback(null, first.address, first.family);
  };
}

function send(
  request: typeof httpRequest,
  url: URL,
  options: RequestOptions,
  body: Uint8Array | undefined,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, options, resolve);
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** Resolving a name cannot be cancelled, but nobody needs to wait for it. */
function untilAborted<T>(task: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    task.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
