import { abortable } from '../lib/abortable.ts';
import type { Clock } from '../lib/clock.ts';
import type { Affinity, Direction } from './affinity.ts';
import { baseUrl } from './base-url.ts';
import { answeredBy, fixedHeaders, hasMoved, headerName, joinPin, splitPin } from './pins.ts';

/** A session that the platform opened. */
export interface PlatformSession {
  /** Printable ASCII without spaces, at most 2,048. */
  readonly token: string;
  /** Milliseconds since 1970 after which it is not used any more; null: until it is refused. */
  readonly expiresMs: number | null;
}

export interface LifecycleOptions {
  /** Of the load balancer. */
  readonly url: string;
  /** Sent with every request, such as Modal's `modal-key` and `modal-secret`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Carries the token; default `modal-authorization`. */
  readonly header?: string;
  /** Before the token; default `Bearer `, with a space at its end. */
  readonly prefix?: string;
  /**
   * Opens a session by the platform's own call: Modal's `sessions.start`, or InvokeEndpoint with
   * NEW_SESSION. Must reject on abort; an error ends the request that needed it.
   */
  readonly open: (signal: AbortSignal) => Promise<PlatformSession>;
  readonly clock: Clock;
}

const TOKEN = /^[\x21-\x7e]{1,2048}$/;
/** What platforms answer to a token they do not know any more. */
const REFUSALS: readonly number[] = [400, 401, 403, 404, 410, 424];
const OPEN_MS = 60_000;

/**
 * For platforms whose sessions are opened, and end when idle: Modal's `sessioned` servers, which
 * refuse every request without a token. So conversations without a name, and questions of how replicas
 * are, share one session, opened when it is first needed. Sessions are never closed: they end by the
 * platform's idle time, which keeps a container up so long.
 *
 * SageMaker's stateful endpoints fit only in part: `open` can invoke with NEW_SESSION and give back
 * what came as NewSessionId (a streaming call cannot open one), but their invocations have one path,
 * signed by AWS, and lose unknown headers. A `fetch` that puts the replica's path and headers into the
 * body, and a container that takes them out again, are not part of this.
 */
export function createLifecycle(options: LifecycleOptions): Affinity {
  const url = baseUrl(options.url);
  const headers = fixedHeaders(options.headers);
  const header = headerName(options.header ?? 'modal-authorization');
  const { prefix = 'Bearer ', clock } = options;
  const opened = new WeakMap<Direction, PlatformSession>();
  let shared: PlatformSession | null = null;
  let opening: Promise<PlatformSession> | null = null;
  /** Only of one that once worked is a refusal taken for its end: what never worked is set up wrongly. */
  let hasSharedWorked = false;

  async function open(signal: AbortSignal): Promise<PlatformSession> {
    const session = await options.open(signal);
    if (TOKEN.test(session.token)) return session;
    throw new TypeError('The platform opened a session whose token is no printable text.');
  }

  const isOpen = ({ expiresMs }: PlatformSession): boolean =>
    expiresMs === null || expiresMs > clock.now();

  /** The session of all that has no name; who comes while it is opened waits for the same one. */
  function openShared(): Promise<PlatformSession> {
    if (shared !== null && isOpen(shared)) return Promise.resolve(shared);
    opening ??= open(AbortSignal.timeout(OPEN_MS))
      .then((session) => {
        hasSharedWorked = false;
        shared = session;
        return session;
      })
      .finally(() => (opening = null));
    return opening;
  }

  const bearing = ({ token }: PlatformSession): Readonly<Record<string, string>> => ({
    ...headers,
    [header]: `${prefix}${token}`,
  });

  return {
    async apply(visit, signal) {
      const pin = visit.session === null ? null : parse(visit.pin);
      const isKept = pin !== null && isOpen(pin) && !visit.avoid.has(pin.replica);
      let session: PlatformSession;
      if (isKept) session = pin;
      else if (visit.session === null) session = await abortable(openShared(), signal);
      else session = await open(within(signal));
      const direction: Direction = {
        url,
        headers: bearing(session),
        replica: isKept && pin.replica !== '' ? pin.replica : null,
        done(end) {
          if (session === shared && end === 'ok') hasSharedWorked = true;
        },
      };
      opened.set(direction, session);
      return direction;
    },
    learn(answer, { session, pin }, direction) {
      if (session === null) return null;
      const used = opened.get(direction);
      // A first turn's session is everybody's: the conversation opens its own when it goes on.
      if (used === undefined || used.token === shared?.token) return null;
      const replica = answeredBy(answer);
      const before = parse(pin)?.replica ?? '';
      const rest = `${used.expiresMs ?? ''} ${used.token}`;
      return joinPin({ replica: replica === '' ? before : replica, rest });
    },
    lost(answer, { session, pin }) {
      const isRefused = answeredBy(answer) === '' && REFUSALS.includes(answer.status);
      if (session === null) {
        if (!isRefused || !hasSharedWorked) return 'no';
        shared = null;
        return 'gone';
      }
      if (parse(pin) === null) return 'no';
      if (isRefused) return 'gone';
      return hasMoved(splitPin(pin), answer) ? 'moved' : 'no';
    },
    targets() {
      if (shared !== null && isOpen(shared)) return [{ url, headers: bearing(shared) }];
      // Who asks, asks again; what it was rejected with is told to the request that needs it.
      openShared().catch(() => undefined);
      return [];
    },
    observe(_target, status) {
      if (status !== null) hasSharedWorked = true;
      else if (hasSharedWorked) shared = null;
    },
  };
}

function within(signal: AbortSignal | undefined): AbortSignal {
  const limit = AbortSignal.timeout(OPEN_MS);
  return signal === undefined ? limit : AbortSignal.any([signal, limit]);
}

function parse(pin: string | null): (PlatformSession & { readonly replica: string }) | null {
  const parts = splitPin(pin);
  const [, expires, token] = /^(\d{0,15}) (\S+)$/.exec(parts?.rest ?? '') ?? [];
  if (parts === null || token === undefined || !TOKEN.test(token)) return null;
  const expiresMs = expires === '' ? null : Number(expires);
  return { replica: parts.replica, token, expiresMs };
}
