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

export interface TokenEchoOptions {
  /** Of the load balancer. */
  readonly url: string;
  /** Sent with every request, such as RunPod's `authorization: Bearer`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Names the worker, on answers and on requests; default `x-runpod-worker-id`. */
  readonly header?: string;
  /**
   * `soft` (default): another worker answers where this one cannot. `strict`: a full worker makes the
   * request wait, for minutes on RunPod. `strict-resume`: it is also started again.
   */
  readonly mode?: 'soft' | 'strict' | 'strict-resume';
}

const WORKER = /^[\w.-]{1,128}$/;

/**
 * For balancers that name the worker on each answer and send the next request to the worker it names:
 * RunPod's load-balancing endpoints. A worker of the same name that was frozen or restarted has another
 * process, which counts as moved.
 */
export function createTokenEcho(options: TokenEchoOptions): Affinity {
  const url = baseUrl(options.url);
  const headers = fixedHeaders(options.headers);
  const header = headerName(options.header ?? 'x-runpod-worker-id');
  const { mode = 'soft' } = options;
  const isStrict = mode !== 'soft';

  return {
    apply(visit) {
      const pin = visit.session === null ? null : splitPin(visit.pin);
      if (pin === null || !WORKER.test(pin.rest) || isAvoided(pin, visit)) {
        return { url, headers, replica: null, done: () => undefined };
      }
      const value = isStrict ? `${mode} ${pin.rest}` : pin.rest;
      return {
        url,
        headers: { ...headers, [header]: value },
        replica: pin.replica === '' ? null : pin.replica,
        done: () => undefined,
      };
    },
    learn(answer, { session, pin }) {
      const worker = answer.headers.get(header) ?? '';
      if (session === null) return null;
      if (!WORKER.test(worker)) return splitPin(pin) === null ? null : pin;
      return joinPin({ replica: answeredBy(answer), rest: worker });
    },
    lost(answer, visit) {
      const pin = visit.session === null ? null : splitPin(visit.pin);
      if (pin === null || !WORKER.test(pin.rest)) return 'no';
      // 404 affinity_worker_gone and 400 worker_timeout are the balancer's: no replica put its name on.
      const isBalancers = answeredBy(answer) === '';
      if (isStrict && isBalancers && (answer.status === 404 || answer.status === 400))
        return 'gone';
      const worker = answer.headers.get(header);
      return (worker !== null && worker !== pin.rest) || hasMoved(pin, answer) ? 'moved' : 'no';
    },
    targets: () => [{ url, headers }],
  };
}
