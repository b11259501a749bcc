import type { ErrorRecord } from './error-record.ts';
import type { FailureRecord } from './failure-record.ts';
import type { RequestRecord } from './request-record.ts';

export type LogFormat = 'json' | 'pretty' | 'off';

export const LOG_FORMATS: readonly ['json', 'pretty', 'off'] = ['json', 'pretty', 'off'];

/** What is written as one line. */
export type LogRecord = (RequestRecord | FailureRecord) & {
  /** Equal failures since the last line that were not written. */
  readonly repeats?: number;
  /** Lines that could not be written before this one. */
  readonly dropped_lines?: number;
};

/** One line without its end, by the hand of a machine or for people. */
export function formatRecord(record: LogRecord, nowMs: number, format: 'json' | 'pretty'): string {
  const time = new Date(nowMs).toISOString();
  if (format === 'json') return JSON.stringify({ time, ...record });
  const { level, error, repeats, dropped_lines: dropped } = record;
  const parts = [
    `${time.slice(11, 23)} ${level.padEnd(5)} ${record.event === 'request' ? requestText(record) : failureText(record)}`,
    ...(error === undefined ? [] : [`: ${errorText(error)}`]),
    ...(repeats === undefined ? [] : [` (and ${repeats} more like it)`]),
    ...(dropped === undefined ? [] : [` (${dropped} lines before it were lost)`]),
  ];
  return parts.join('');
}

function requestText(record: RequestRecord): string {
  const { method, route, path, status, outcome, e2e_ms: e2eMs, ttft_ms: ttftMs } = record;
  const facts = [
    `${method} ${route ?? path ?? ''} ${status}${outcome === 'ok' ? '' : ` ${outcome}`}`,
    `${Math.round(e2eMs)} ms`,
    ...(ttftMs === undefined ? [] : [`first token ${Math.round(ttftMs)} ms`]),
    ...(record.prompt_tokens === undefined ? [] : [tokensText(record)]),
    ...(record.finish_reasons === undefined ? [] : [record.finish_reasons.join(' ')]),
    ...(record.key_id === undefined ? [] : [`key ${record.key_id}`]),
    record.request_id,
  ];
  return facts.join(', ');
}

function tokensText(record: RequestRecord): string {
  const { prompt_tokens: prompt, cached_tokens: cached, completion_tokens: completion } = record;
  return `${prompt} tokens in (${cached} cached), ${completion} out`;
}

function failureText({ what, url }: FailureRecord): string {
  return url === undefined ? what : `${what}, ${url}`;
}

function errorText(error: ErrorRecord): string {
  const { name, message, code, stack, cause, errors = [] } = error;
  const mark = code === undefined ? name : `${name} ${code}`;
  const inner = [...(cause === undefined ? [] : [cause]), ...errors].map(errorText);
  const place = stack?.[0] === undefined ? '' : ` at ${stack[0]}`;
  return [`${mark}: ${message}${place}`, ...inner].join(' <- ');
}
