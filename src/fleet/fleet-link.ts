import type { Clock } from '../lib/clock.ts';
import { createSigner, SIGNATURE_HEADER } from './signing.ts';
import { LENGTH_BYTES } from './wire-call.ts';

/** Where a request goes, and with which headers beside its signature. */
export interface LinkTarget {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** Signed requests to replicas. */
export interface FleetLink {
  /**
   * @param path on the replica, such as `/replica/v1/status`
   * @param content what the signature covers; where `rest` follows it, without its first LENGTH_BYTES
   * @param rest what the content vouches for
   * @throws what `fetch` throws
   */
  send(
    target: LinkTarget,
    method: 'GET' | 'POST',
    path: string,
    content: Uint8Array<ArrayBuffer>,
    signal: AbortSignal,
    rest?: readonly Uint8Array[],
  ): Promise<Response>;
}

export interface FleetLinkOptions {
  readonly keys: readonly string[];
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
  readonly clock: Clock;
}

/** @throws RangeError for keys that are none */
export function createFleetLink({ keys, fetch, clock }: FleetLinkOptions): FleetLink {
  const signer = createSigner(keys, () => clock.now());
  return {
    async send(target, method, path, content, signal, rest) {
      const signed = rest === undefined ? content : content.subarray(LENGTH_BYTES);
      const signature = await signer.sign(method, path, signed);
      // A Blob is sent as it is, without putting the pictures into one more copy.
      const parts = [content, ...(rest ?? [])] as Uint8Array<ArrayBuffer>[];
      return fetch(`${target.url}${path}`, {
        method,
        headers: {
          ...target.headers,
          [SIGNATURE_HEADER]: signature,
          ...(method === 'GET' ? {} : { 'content-type': 'application/octet-stream' }),
        },
        ...(method === 'GET' ? {} : { body: rest === undefined ? content : new Blob(parts) }),
        // A redirect would carry the prompt to who knows where.
        redirect: 'manual',
        signal,
      });
    },
  };
}
