import { ServeError } from '../../src/errors.ts';
import type { SafeRequest } from '../../src/image/safe-fetch.ts';
import { checkUrl } from '../../src/image/safe-url.ts';
import { sha256Hex } from '../../src/lib/sha256-hex.ts';

export interface CallbackOptions {
  /** Standard Webhooks' `whsec_` and base64; null signs nothing. */
  readonly secret: string | null;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
  readonly request: SafeRequest;
}

/**
 * Sends a result to a URL that a message names. Its id is that of the content, so that receivers know
 * what they got before. Signed as Standard Webhooks says; redirects are not followed.
 * @throws ServeError invalid_url, invalid_request: never again; upstream_unavailable: try again
 */
export async function sendCallback(
  url: string,
  body: object,
  { secret, nowMs, request }: CallbackOptions,
  signal: AbortSignal,
): Promise<void> {
  const target = checkUrl(url);
  const bytes = new TextEncoder().encode(JSON.stringify(body));
  const id = `msg_${(await sha256Hex(bytes)).slice(0, 32)}`;
  const timestamp = String(Math.floor(nowMs / 1_000));
  const signature = secret === null ? null : await sign(secret, `${id}.${timestamp}.`, bytes);
  const response = await request(target, {
    headers: {
      'content-type': 'application/json',
      'user-agent': 'gemlet',
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      ...(signature === null ? {} : { 'webhook-signature': signature }),
    },
    body: bytes,
    policy: {},
    signal,
  });
  response.close();
  const { status } = response;
  if (status >= 200 && status < 300) return;
  const mayPass = status >= 500 || status === 408 || status === 429;
  throw new ServeError(
    mayPass ? 'upstream_unavailable' : 'invalid_request',
    `The callback answered ${status}.`,
  );
}

async function sign(secret: string, head: string, body: Uint8Array<ArrayBuffer>): Promise<string> {
  const raw = Uint8Array.from(atob(secret.replace(/^whsec_/, '')), (char) => char.charCodeAt(0));
  const hmac = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', raw, hmac, false, ['sign']);
  const content = await new Blob([head, body]).arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.sign('HMAC', key, content));
  return `v1,${btoa(String.fromCharCode(...digest))}`;
}
