import type { ClientInfo } from '../../src/http/app-env.ts';

/** What a function URL or API Gateway sends of a request: version 2.0 of the payload, or 1.0 (REST APIs). */
export type LambdaEvent = LambdaEventV2 | LambdaEventV1;

interface LambdaBody {
  readonly body?: string | null;
  readonly isBase64Encoded?: boolean;
}

/** Function URLs and HTTP APIs. */
export interface LambdaEventV2 extends LambdaBody {
  readonly rawPath: string;
  readonly rawQueryString?: string;
  /** Several values of one name are joined by commas. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
  readonly cookies?: readonly string[];
  readonly requestContext: {
    readonly domainName?: string;
    readonly stage?: string;
    readonly http: { readonly method: string; readonly sourceIp?: string };
  };
}

/** REST APIs, the kind of API Gateway that streams. */
export interface LambdaEventV1 extends LambdaBody {
  readonly httpMethod: string;
  readonly path: string;
  readonly multiValueHeaders?: Values | null;
  /** Decoded, unlike those of version 2.0. */
  readonly multiValueQueryStringParameters?: Values | null;
  readonly requestContext?: {
    readonly domainName?: string;
    readonly identity?: { readonly sourceIp?: string };
  };
}

type Values = Readonly<Record<string, readonly string[] | undefined>>;

/**
 * The request that an event tells of.
 * @throws TypeError for events of something else than HTTP requests
 */
export function requestOf(event: LambdaEvent, signal: AbortSignal): Request {
  const { method, path, query, headers } = isVersion2(event) ? readV2(event) : readV1(event);
  const domain = event.requestContext?.domainName ?? headers.get('host') ?? 'localhost';
  // Gateways hand over some paths decoded.
  const safePath = path.replaceAll('?', '%3F').replaceAll('#', '%23');
  const url = `https://${domain}${safePath}${query === '' ? '' : `?${query}`}`;
  const body = method === 'GET' || method === 'HEAD' ? null : bodyOf(event);
  return new Request(url, { method, headers, body, signal });
}

/** Who sent the request, by Lambda's own account. */
export function clientOf(event: LambdaEvent): ClientInfo {
  const address = isVersion2(event)
    ? event.requestContext.http.sourceIp
    : event.requestContext?.identity?.sourceIp;
  return address === undefined ? {} : { clientAddress: address };
}

interface Head {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Headers;
}

function isVersion2(event: LambdaEvent): event is LambdaEventV2 {
  return 'rawPath' in event && typeof event.requestContext?.http?.method === 'string';
}

function readV2(event: LambdaEventV2): Head {
  const { rawPath, rawQueryString = '', cookies = [], requestContext } = event;
  const { stage, http } = requestContext;
  const headers = new Headers();
  for (const [name, value] of Object.entries(event.headers ?? {})) {
    if (value !== undefined) headers.set(name, headerValue(value));
  }
  if (cookies.length > 0) headers.set('cookie', headerValue(cookies.join('; ')));
  // HTTP APIs with a named stage begin their paths with it.
  const prefix = `/${stage}/`;
  const path = rawPath.startsWith(prefix) ? rawPath.slice(prefix.length - 1) : rawPath;
  return { method: http.method, path, query: rawQueryString, headers };
}

function readV1(event: LambdaEventV1): Head {
  if (typeof event.httpMethod !== 'string' || typeof event.path !== 'string') {
    throw new TypeError(
      'The event is no HTTP request: call the function by its URL or through API Gateway.',
    );
  }
  const headers = new Headers();
  for (const [name, value] of pairs(event.multiValueHeaders)) {
    headers.append(name, headerValue(value));
  }
  const query = new URLSearchParams(pairs(event.multiValueQueryStringParameters)).toString();
  return { method: event.httpMethod, path: event.path, query, headers };
}

function pairs(values: Values | null | undefined): [string, string][] {
  return Object.entries(values ?? {}).flatMap(([name, all]) =>
    (all ?? []).map((value): [string, string] => [name, value]),
  );
}

/** `Headers` takes bytes; Lambda has decoded them as UTF-8. */
function headerValue(value: string): string {
  const isBytes = Array.from(value).every((char) => char <= '\u00ff');
  return isBytes ? value : Buffer.from(value, 'utf8').toString('latin1');
}

function bodyOf({ body, isBase64Encoded }: LambdaBody): Uint8Array<ArrayBuffer> | null {
  if (body === undefined || body === null) return null;
  return Uint8Array.from(Buffer.from(body, isBase64Encoded === true ? 'base64' : 'utf8'));
}
