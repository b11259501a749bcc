import { ServeError } from '../errors.ts';
import type { CleanText } from './clean-text.ts';

/** An error as it stands in the log; absent fields had nothing to say. */
export interface ErrorRecord {
  readonly name: string;
  readonly message: string;
  /** Of the closed set, or the system's, such as ECONNREFUSED. */
  readonly code?: string;
  readonly errno?: number;
  readonly syscall?: string;
  /** Where in this program it was thrown, of a defect: `function (file:line:column)`, innermost first. */
  readonly stack?: readonly string[];
  readonly cause?: ErrorRecord;
  /** Of an AggregateError. */
  readonly errors?: readonly ErrorRecord[];
}

const MAX_MESSAGE = 400;
const MAX_NAME = 64;
const MAX_FRAME = 160;
const MAX_FRAMES = 6;
/** Errors of one chain, whether causes or parts of an aggregate. */
const MAX_ERRORS = 8;

/**
 * The chain of an error's causes, bounded in length and depth.
 * @param withStack whether it is a defect, whose place matters
 */
export function errorRecord(error: unknown, clean: CleanText, withStack: boolean): ErrorRecord {
  let left = MAX_ERRORS;
  const seen = new Set<unknown>();

  function record(value: unknown): ErrorRecord {
    left--;
    seen.add(value);
    if (!isErrorLike(value)) {
      // Whatever else was thrown may hold anything: its kind has to do.
      const kind = typeof value === 'string' ? clean(value, MAX_MESSAGE) : typeof value;
      return { name: 'NonError', message: kind };
    }
    const cause = next(value.cause);
    const errors = (Array.isArray(value.errors) ? value.errors : []).flatMap((part: unknown) => {
      const inner = next(part);
      return inner === null ? [] : [inner];
    });
    const isInnermost = cause === null && errors.length === 0;
    const stack = withStack && isInnermost ? framesOf(value, clean) : [];
    return {
      name: clean(value.name, MAX_NAME),
      message: clean(withoutQuotes(value), MAX_MESSAGE),
      ...(typeof value.code === 'string' ? { code: clean(value.code, MAX_NAME) } : {}),
      ...(typeof value.errno === 'number' ? { errno: value.errno } : {}),
      ...(typeof value.syscall === 'string' ? { syscall: clean(value.syscall, MAX_NAME) } : {}),
      ...(stack.length === 0 ? {} : { stack }),
      ...(cause === null ? {} : { cause }),
      ...(errors.length === 0 ? {} : { errors }),
    };
  }

  function next(value: unknown): ErrorRecord | null {
    const isOver = value === undefined || value === null || left <= 0 || seen.has(value);
    return isOver ? null : record(value);
  }

  return record(error);
}

interface ErrorLike {
  readonly name: string;
  readonly message: string;
  readonly stack?: unknown;
  readonly code?: unknown;
  readonly errno?: unknown;
  readonly syscall?: unknown;
  readonly cause?: unknown;
  readonly errors?: unknown;
}

function isErrorLike(value: unknown): value is ErrorLike {
  if (typeof value !== 'object' || value === null) return false;
  const { name, message } = value as Record<string, unknown>;
  return typeof name === 'string' && typeof message === 'string';
}

/** Runtimes quote what they were given: JSON text, header values, URLs. */
function withoutQuotes(error: ErrorLike): string {
  const isRuntimes = error.name === 'SyntaxError' || error.name === 'TypeError';
  if (!isRuntimes || ServeError.is(error)) return error.message;
  return error.message
    .replace(/"[\s\S]*"/, '"…"')
    .replace(/'[\s\S]*'/, "'…'")
    .replace(/`[\s\S]*`/, '`…`');
}

/** The lines of a stack that name places: those before them repeat the message. */
function framesOf(error: ErrorLike, clean: CleanText): readonly string[] {
  const { stack, message } = error;
  if (typeof stack !== 'string') return [];
  return stack
    .replace(message, '')
    .split('\n')
    .flatMap((line) => /^ {4}at (.*:\d+:\d+\)?)$/.exec(line)?.[1] ?? [])
    .slice(0, MAX_FRAMES)
    .map((frame) => clean(frame, MAX_FRAME));
}
