import type { AppEvent } from '../http/request-events.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { createCleanText } from './clean-text.ts';
import { failureRecord, type FailureRecord, type PartEvent } from './failure-record.ts';
import { formatRecord, type LogFormat, type LogRecord } from './format.ts';
import { requestRecord } from './request-record.ts';

/** Takes the events of all parts: it fits `onEvent` of apps, engines and gateways, and `onLoad`. */
export type RequestLog = (event: AppEvent | PartEvent) => void;

export interface RequestLogOptions {
  /** Takes one line without its end; false when it could not, and the line is lost. */
  readonly write: (line: string) => boolean | void;
  /** `json` by default. */
  readonly format?: LogFormat;
  /** Texts that never appear, such as the server's own keys. */
  readonly secrets?: readonly string[];
  readonly clock?: Clock;
}

/** Equal failures are written once in this time. */
const REPEAT_MS = 10_000;
/** Kinds of failures that are remembered. */
const MAX_KINDS = 64;

interface Kind {
  writtenMs: number;
  repeats: number;
}

/**
 * Writes one line for each request that ends and each failure outside of one: never a prompt, an
 * answer, a picture or a secret. Requests of probes are left out while they go well. The returned
 * function never throws, whatever `write` does.
 * @example
 * const log = createRequestLog({ write: (line) => console.log(line) });
 * const app = createApp({ completer, onEvent: log });
 */
export function createRequestLog(options: RequestLogOptions): RequestLog {
  const { write, format = 'json', clock = systemClock } = options;
  if (format === 'off') return () => undefined;
  const clean = createCleanText(options.secrets);
  const kinds = new Map<string, Kind>();
  let droppedLines = 0;

  function emit(record: LogRecord): void {
    const whole = droppedLines === 0 ? record : { ...record, dropped_lines: droppedLines };
    // Counted first: a writer that throws has lost it, too.
    droppedLines++;
    if (write(formatRecord(whole, clock.now(), format as 'json' | 'pretty')) !== false) {
      droppedLines = 0;
    }
  }

  /** A store that is down must not fill the log. */
  function emitOnce(record: FailureRecord): void {
    const nowMs = clock.now();
    const key = `${record.what} ${record.url ?? ''} ${record.error?.message ?? ''}`;
    const kind = kinds.get(key);
    if (kind !== undefined && nowMs - kind.writtenMs < REPEAT_MS) {
      kind.repeats++;
      return;
    }
    if (kinds.size >= MAX_KINDS) kinds.clear();
    kinds.set(key, { writtenMs: nowMs, repeats: 0 });
    const repeats = kind?.repeats ?? 0;
    emit(repeats === 0 ? record : { ...record, repeats });
  }

  return function log(event) {
    try {
      if (event.type === 'request-end') {
        if (!event.isProbe || event.outcome === 'error') emit(requestRecord(event, clean));
        return;
      }
      const record = failureRecord(event, clean);
      if (record !== null) emitOnce(record);
    } catch {
      // A broken log must not break what it tells of, and there is nowhere else to say so.
    }
  };
}
