import type { CompleterState } from '../completer.ts';
import type { GenerateEvent } from '../engine/engine.ts';
import type { ServeError } from '../errors.ts';
import type { LoadProgress } from '../load-progress.ts';
import { toBase64 } from '../lib/base64.ts';

/** What a replica answers with: a JSON object a line, until `finish` or `error`. */
export type WireEvent =
  | GenerateEvent
  /** Nothing to tell but this, so that silence means that the replica is gone. */
  | {
      readonly type: 'wait';
      readonly state: CompleterState;
      readonly progress: LoadProgress | null;
    }
  | { readonly type: 'error'; readonly error: ServeError };

export const EVENTS_TYPE = 'application/x-ndjson';

/** @param sent tokens of the prompt that was sent: those that came back as they were are left out */
export function encodeEvent(event: WireEvent, sent: Int32Array): string {
  switch (event.type) {
    case 'prefill-end': {
      const isSame = event.tokens === sent || areEqual(event.tokens, sent);
      return line({ ...event, tokens: isSame ? null : Array.from(event.tokens) });
    }
    case 'token':
    case 'finish':
      return line({ ...event, bytes: toBase64(event.bytes) });
    case 'error': {
      const { code, message, param, retryAfterMs } = event.error;
      return line({ type: 'error', code, message, param, retryAfterMs });
    }
    default:
      return line(event);
  }
}

function line(value: object): string {
  return `${JSON.stringify(value)}\n`;
}

function areEqual(a: Int32Array, b: Int32Array): boolean {
  return a.length === b.length && a.every((value, at) => value === b[at]);
}
