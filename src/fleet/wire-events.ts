import type { CompleterState } from '../completer.ts';
import type { GenerateEvent, TokenLogprobs } from '../engine/engine.ts';
import { type ErrorCode, ServeError } from '../errors.ts';
import type { LoadProgress } from '../load-progress.ts';
import { fromBase64, toBase64 } from '../lib/base64.ts';

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

/**
 * @param text one line
 * @throws SyntaxError when it is none of ours
 */
export function parseEvent(text: string, sent: Int32Array): WireEvent {
  const event = JSON.parse(text) as Record<string, unknown>;
  switch (event['type']) {
    case 'prefill-end': {
      const tokens = event['tokens'] as number[] | null;
      const promptLogprobs = event['promptLogprobs'] as (TokenLogprobs | null)[] | null;
      return {
        ...(event as object),
        tokens: tokens === null ? sent : Int32Array.from(tokens),
        promptLogprobs: promptLogprobs?.map(withInfinity) ?? null,
      } as WireEvent;
    }
    case 'token':
      return {
        ...(event as object),
        bytes: fromBase64(event['bytes'] as string),
        logprobs: withInfinity(event['logprobs'] as TokenLogprobs | null),
      } as WireEvent;
    case 'finish':
      return { ...(event as object), bytes: fromBase64(event['bytes'] as string) } as WireEvent;
    case 'wait':
      return event as WireEvent;
    case 'error': {
      const { code, message, param, retryAfterMs } = event as unknown as ErrorLine;
      const options = { param, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
      return { type: 'error', error: new ServeError(code, message, options) };
    }
    default:
      throw new SyntaxError(`"${String(event['type'])}" is no event of a replica`);
  }
}

interface ErrorLine {
  readonly code: ErrorCode;
  readonly message: string;
  readonly param: string | null;
  readonly retryAfterMs?: number;
}

function line(value: object): string {
  return `${JSON.stringify(value)}\n`;
}

/** JSON knows no infinity: a token without any probability comes as null. */
function withInfinity(logprobs: TokenLogprobs | null): TokenLogprobs | null {
  if (logprobs === null) return null;
  return {
    logprob: logprobs.logprob ?? Number.NEGATIVE_INFINITY,
    top: logprobs.top.map(({ id, logprob }) => ({
      id,
      logprob: logprob ?? Number.NEGATIVE_INFINITY,
    })),
  };
}

function areEqual(a: Int32Array, b: Int32Array): boolean {
  return a.length === b.length && a.every((value, at) => value === b[at]);
}
