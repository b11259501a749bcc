import type { Clock } from '../lib/clock.ts';
import type { Affinity } from './affinity.ts';
import { baseUrl } from './base-url.ts';
import { answeredBy, fixedHeaders, hasMoved, isAvoided, joinPin, splitPin } from './pins.ts';

export interface CookieOptions {
  /** Of the load balancer. */
  readonly url: string;
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly clock: Clock;
}

const PAIR = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([\x21-\x3a\x3c-\x7e]*)$/;
/** Bytes of all cookies of a session; balancers send one or two of at most some hundreds. */
const MAX_COOKIES = 3_500;

/**
 * For balancers that keep a client by cookies: Cloud Run, Azure Container Apps, AWS ALB. Clients of an
 * API seldom keep cookies, so they are kept here, as they are, by session. Domains and paths are not
 * looked at, since all requests go to one URL; a cookie whose time has passed is sent until it is
 * replaced, which its balancer takes for none.
 */
export function createCookieAffinity(options: CookieOptions): Affinity {
  const url = baseUrl(options.url);
  const headers = fixedHeaders(options.headers);
  const { clock } = options;

  return {
    apply(visit) {
      const pin = visit.session === null ? null : splitPin(visit.pin);
      // Parsed again, since a pin may be anything.
      const cookies = pin === null || isAvoided(pin, visit) ? '' : format(parseJar(pin.rest));
      const isPinned = cookies !== '' && pin !== null && pin.replica !== '';
      return {
        url,
        headers: cookies === '' ? headers : { ...headers, cookie: withFixed(headers, cookies) },
        replica: isPinned ? pin.replica : null,
        done: () => undefined,
      };
    },
    learn(answer, visit) {
      if (visit.session === null) return null;
      const pin = splitPin(visit.pin);
      const jar = parseJar(pin?.rest ?? '');
      for (const line of answer.headers.getSetCookie()) take(jar, line, clock.now());
      const replica = answeredBy(answer);
      if (jar.size === 0 && replica === '') return null;
      return joinPin({
        replica: replica === '' ? (pin?.replica ?? '') : replica,
        rest: format(jar),
      });
    },
    lost: (answer, { session, pin }) =>
      session !== null && hasMoved(splitPin(pin), answer) ? 'moved' : 'no',
    targets: () => [{ url, headers }],
  };
}

function withFixed(headers: Readonly<Record<string, string>>, cookies: string): string {
  return headers['cookie'] === undefined ? cookies : `${headers['cookie']}; ${cookies}`;
}

function parseJar(text: string): Map<string, string> {
  const jar = new Map<string, string>();
  for (const pair of text.split('; ')) {
    const [, name, value] = PAIR.exec(pair) ?? [];
    if (name !== undefined && value !== undefined) jar.set(name, value);
  }
  return jar;
}

/** Puts one Set-Cookie line into the jar, or takes its cookie out. */
function take(jar: Map<string, string>, line: string, nowMs: number): void {
  const [pair = '', ...attributes] = line.split(';').map((part) => part.trim());
  const [, name, value] = PAIR.exec(pair) ?? [];
  if (name === undefined || value === undefined) return;
  jar.delete(name);
  if (!isOver(attributes, nowMs)) jar.set(name, value);
}

/** Max-Age goes before Expires, as in RFC 6265. */
function isOver(attributes: readonly string[], nowMs: number): boolean {
  let isPast = false;
  for (const attribute of attributes) {
    const at = attribute.indexOf('=');
    const name = attribute.slice(0, at).toLowerCase();
    const value = attribute.slice(at + 1);
    if (name === 'max-age' && /^-?\d+$/.test(value)) return Number(value) <= 0;
    if (name === 'expires' && Date.parse(value) <= nowMs) isPast = true;
  }
  return isPast;
}

/** The cookies that fit, the latest set ones first in doubt. */
function format(jar: ReadonlyMap<string, string>): string {
  const kept: string[] = [];
  let length = 0;
  for (const [name, value] of [...jar].toReversed()) {
    const pair = `${name}=${value}`;
    if (length + pair.length + 2 > MAX_COOKIES) continue;
    length += pair.length + 2;
    kept.push(pair);
  }
  return kept.toReversed().join('; ');
}
