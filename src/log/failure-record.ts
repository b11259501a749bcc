import type { EngineEvent } from '../engine/engine-event.ts';
import { ServeError } from '../errors.ts';
import type { FleetEvent } from '../fleet/remote-engine.ts';
import type { LoadEvent } from '../lazy-completer.ts';
import type { SessionEvent } from '../sessions/session.ts';
import type { CleanText } from './clean-text.ts';
import { type ErrorRecord, errorRecord } from './error-record.ts';
import type { LogLevel } from './request-record.ts';

/** What went wrong outside any request. */
export interface FailureEvent {
  readonly type: 'failure';
  /** A fixed text that says what failed; never with prompts, answers or names of conversations. */
  readonly what: string;
  readonly error: unknown;
  readonly level?: LogLevel;
  /** Address of what failed, such as a replica; shown without user, password and query. */
  readonly url?: string;
}

/** What parts of the server report of themselves. */
export type PartEvent = FailureEvent | EngineEvent | FleetEvent | LoadEvent | SessionEvent;

export interface FailureRecord {
  readonly event: 'failure';
  readonly level: LogLevel;
  readonly what: string;
  readonly url?: string;
  readonly error?: ErrorRecord;
}

const MAX_WHAT = 120;
const MAX_URL = 200;

/** null for what is no failure, or stands in the line of the request that it failed. */
export function failureRecord(event: PartEvent, clean: CleanText): FailureRecord | null {
  const failure = failureOf(event);
  if (failure === null) return null;
  const { what, error, url, level = 'error' } = failure;
  const isDefect = !ServeError.is(error) || error.code === 'internal';
  return {
    event: 'failure',
    level,
    what: clean(what, MAX_WHAT),
    ...(url === undefined ? {} : { url: clean(url, MAX_URL) }),
    ...(error === null ? {} : { error: errorRecord(error, clean, isDefect && level === 'error') }),
  };
}

type Failure = Omit<FailureEvent, 'type'>;

function failureOf(event: PartEvent): Failure | null {
  switch (event.type) {
    case 'failure':
      return event;
    case 'step-failed':
      return { what: 'a step of the engine failed', error: event.error };
    case 'kv-failed':
      return {
        what: 'keeping or restoring a conversation failed',
        error: event.error,
        level: 'warn',
      };
    case 'load-failed':
      return { what: 'loading the model failed; the next request tries again', error: event.error };
    case 'unload':
      if (event.error === null) return null;
      return { what: 'unloading the model failed', error: event.error };
    case 'replica-down':
      return {
        what: 'a replica cannot be used',
        error: event.error,
        url: event.url,
        level: 'warn',
      };
    case 'replica-up':
      return { what: 'a replica is back', error: null, url: event.url, level: 'info' };
    case 'attempt-failed':
      // The others are how a fleet works, or are told by the request.
      if (event.failure !== 'lost' && event.failure !== 'gone') return null;
      return { what: 'a replica was lost during a request', error: event.error, level: 'warn' };
    case 'session-damaged':
    case 'session-load-failed':
    case 'session-write-failed':
    case 'session-drop-failed':
      return { what: SESSION_FAILURES[event.type], error: event.error, level: 'warn' };
    default:
      return null;
  }
}

const SESSION_FAILURES = {
  'session-damaged': 'a stored session is damaged',
  'session-load-failed': 'loading sessions failed',
  'session-write-failed': 'writing a session failed; it is tried again',
  'session-drop-failed': 'forgetting a session failed',
} as const;
