import type { Affinity } from './affinity.ts';
import { baseUrl } from './base-url.ts';
import {
  answeredBy,
  fixedHeaders,
  hasMoved,
  headerName,
  isAvoided,
  joinPin,
  splitPin,
} from './pins.ts';

export interface HashedHeaderOptions {
  /** Of the load balancer. */
  readonly url: string;
  /** Sent with every request, such as Modal's `modal-key` and `modal-secret`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** What the balancer hashes: `modal-session-id` (default), `x-baseten-session-id`, or another. */
  readonly header?: string;
}

/**
 * For balancers that hash a header to a container: Modal Servers, Baseten, Alibaba Function Compute,
 * many gateways. What they are told is the session's keyed name; the pin only tells whether it moved.
 */
export function createHashedHeader(options: HashedHeaderOptions): Affinity {
  const url = baseUrl(options.url);
  const headers = fixedHeaders(options.headers);
  const header = headerName(options.header ?? 'modal-session-id');

  return {
    apply(visit) {
      const { session } = visit;
      const pin = splitPin(visit.pin);
      // A replica that just failed would get it again: its hash is still the same.
      if (session === null || (pin !== null && isAvoided(pin, visit))) {
        return { url, headers, replica: null, done: () => undefined };
      }
      return {
        url,
        headers: { ...headers, [header]: session },
        replica: pin === null || pin.replica === '' ? null : pin.replica,
        done: () => undefined,
      };
    },
    learn(answer, { session, pin }) {
      const replica = answeredBy(answer);
      if (session === null) return null;
      if (replica === '') return splitPin(pin) === null ? null : pin;
      return joinPin({ replica, rest: '' });
    },
    lost: (answer, { session, pin }) =>
      session !== null && hasMoved(splitPin(pin), answer) ? 'moved' : 'no',
    targets: () => [{ url, headers }],
  };
}
