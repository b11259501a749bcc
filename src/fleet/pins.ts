import { ServeError } from '../errors.ts';
import type { AnswerHead, Visit } from './affinity.ts';

/** A pin: which process had the session, and how the platform is told of it. */
export interface Pin {
  /** Drawn when the replica's process began; '' where its answer did not say. */
  readonly replica: string;
  /** The mechanism's own part: printable ASCII. */
  readonly rest: string;
}

/** Names the process on each answer of a replica. */
export const REPLICA_HEADER = 'x-gemlet-replica';

/** Longer ones are not kept; tables are bounded by sessions, and so by this in bytes. */
const MAX_PIN = 4_096;
const PIN = /^([\w-]{0,64}) ([\x20-\x7e]*)$/;
const REPLICA = /^[\w-]{1,64}$/;
const HEADER_NAME = /^[a-z0-9-]{1,64}$/;
const HEADER_VALUE = /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/;

/** The process that answered; '' where something before it did. */
export function answeredBy({ headers }: AnswerHead): string {
  const name = headers.get(REPLICA_HEADER) ?? '';
  return REPLICA.test(name) ? name : '';
}

/** null: too long or not printable, better not kept. */
export function joinPin({ replica, rest }: Pin): string | null {
  const pin = `${replica} ${rest}`;
  return pin.length <= MAX_PIN && PIN.test(pin) ? pin : null;
}

/**
 * The pin a session has; null for what is none. It comes from a table that others may write to, and
 * parts of it go into headers: nothing unprintable passes.
 */
export function splitPin(pin: string | null): Pin | null {
  if (pin === null || pin.length > MAX_PIN) return null;
  const [, replica, rest] = PIN.exec(pin) ?? [];
  return replica === undefined || rest === undefined ? null : { replica, rest };
}

/** Whether another process answered than the one of the pin. False where either is not known. */
export function hasMoved(pin: Pin | null, answer: AnswerHead): boolean {
  const now = answeredBy(answer);
  return pin !== null && pin.replica !== '' && now !== '' && now !== pin.replica;
}

/** Whether the pin's replica already failed this request. */
export function isAvoided(pin: Pin, { avoid }: Visit): boolean {
  return pin.replica !== '' && avoid.has(pin.replica);
}

/**
 * Headers that go with every request, such as a platform's key, in lower case.
 * @throws ServeError invalid_request for a name or value that no header has
 */
export function fixedHeaders(
  headers: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => {
      // Never with the value: it is most likely a key.
      if (!HEADER_VALUE.test(value)) throw invalidHeader(name, 'has a value that is not printable');
      return [headerName(name), value];
    }),
  );
}

/** @throws ServeError invalid_request */
export function headerName(name: string): string {
  const lower = name.toLowerCase();
  if (!HEADER_NAME.test(lower)) throw invalidHeader(name, 'is no name of a header');
  return lower;
}

function invalidHeader(name: string, what: string): ServeError {
  return new ServeError('invalid_request', `The fleet's header ${JSON.stringify(name)} ${what}.`, {
    param: 'headers',
  });
}
