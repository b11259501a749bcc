import { ServeError } from '../errors.ts';
import { systemClock } from '../lib/clock.ts';
import type { Clock } from '../lib/clock.ts';
import { parseModelLocation } from './model-location.ts';
import type { ObjectInfo, ObjectSource } from './object-source.ts';
import { receiveRange } from './receive-range.ts';
import { PassingFailure, retrying, runAttempt } from './web-attempt.ts';
import { webPlace } from './web-place.ts';
import { throwIfPassing, webRequest } from './web-request.ts';
import type { WebAnswer } from './web-request.ts';

export interface HttpsSourceOptions {
  /** Bearer token for the location's own host; on the hub a read token. */
  readonly token?: string | null;
  readonly fetch?: typeof fetch;
  readonly clock?: Pick<Clock, 'sleep'>;
  /** Silence after which a transfer is started anew, in milliseconds; default 30,000. */
  readonly stallMs?: number;
  /** The hub or a mirror of it; default `https://huggingface.co`. */
  readonly hubEndpoint?: string;
  /** Also take http; only meant for loopback servers. */
  readonly allowHttp?: boolean;
}

/** What is known of one object after its HEAD. */
interface WebObject {
  readonly info: ObjectInfo;
  /** Can be asked for with If-Match: the server that answers ranges gave it, and it is strong. */
  readonly ownEtag: string | null;
  /** Where redirects led last; saves a round trip a read. May expire. */
  resolved: URL | null;
}

/**
 * Files of a model on the web, by ranged GETs: a folder on any https server that answers ranges,
 * or a repository of the Hugging Face hub.
 * @param location `https://host/path/`, `hf:org/name[@revision]` or a hub page's address
 * @throws ServeError invalid_url
 */
export function createHttpsSource(
  location: string,
  options: HttpsSourceOptions = {},
): ObjectSource {
  const allowHttp = options.allowHttp ?? false;
  const place = webPlace(
    parseModelLocation(location, allowHttp),
    options.hubEndpoint ?? 'https://huggingface.co',
  );
  const token = options.token ?? null;
  const send = options.fetch ?? fetch;
  const clock = options.clock ?? systemClock;
  // Called bare: a Worker's own fetch refuses to be a method of anything else.
  const web = {
    fetch: (url: URL, init: RequestInit) => send(url, init),
    token,
    tokenOrigin: place.origin,
    allowHttp,
  };
  const patience = {
    sleep: (ms: number, signal?: AbortSignal) => clock.sleep(ms, signal),
    stallMs: options.stallMs ?? 30_000,
  };
  const objects = new Map<string, WebObject>();
  const closing = new AbortController();

  const whileOpen = (signal?: AbortSignal): AbortSignal =>
    signal === undefined ? closing.signal : AbortSignal.any([signal, closing.signal]);

  const describe = async (key: string, signal: AbortSignal): Promise<WebObject | null> => {
    signal.throwIfAborted();
    const known = objects.get(key);
    if (known !== undefined) return known;
    const found = await retrying(
      patience,
      `${place.name}: ${key}`,
      () => 0,
      () =>
        runAttempt(patience, signal, async (attemptSignal) => {
          const answer = await webRequest(
            web,
            place.urlOf(key),
            // The hub tells size and hash in its redirect; the CDN behind it knows them less well.
            { method: 'HEAD', stopsAt: ({ headers }) => headers.has('x-linked-size') },
            attemptSignal,
          );
          throwIfPassing(answer);
          return describeAnswer(key, answer);
        }),
      signal,
    );
    if (found !== null) objects.set(key, found);
    return found;
  };

  const describeAnswer = (key: string, answer: WebAnswer): WebObject | null => {
    const { response, wasRedirected } = answer;
    const { headers } = response;
    const linkedSize = headers.get('x-linked-size');
    if (!response.ok && linkedSize === null) {
      const refusal = place.refusal(key, response, token !== null);
      if (refusal !== null) throw refusal;
      return null;
    }
    place.pin(headers.get('x-repo-commit') ?? '');
    const sizeBytes = Number(linkedSize ?? headers.get('content-length') ?? Number.NaN);
    if (!Number.isSafeInteger(sizeBytes)) {
      throw new ServeError('weights_unavailable', `${place.name} does not tell the size of ${key}`);
    }
    const etag = headers.get('x-linked-etag') ?? headers.get('etag');
    const isOwn = !place.isHub && !wasRedirected && etag !== null && etag.startsWith('"');
    return { info: { sizeBytes, etag }, ownEtag: isOwn ? etag : null, resolved: null };
  };

  const receive = async (
    key: string,
    object: WebObject,
    offset: number,
    target: Uint8Array,
    signal: AbortSignal,
    alive: (count: number) => void,
  ): Promise<void> => {
    const { resolved, ownEtag, info } = object;
    const answer = await webRequest(
      web,
      resolved ?? place.urlOf(key),
      {
        method: 'GET',
        headers: {
          range: `bytes=${offset}-${offset + target.length - 1}`,
          ...(ownEtag === null ? {} : { 'if-match': ownEtag }),
        },
      },
      signal,
    );
    alive(0);
    throwIfPassing(answer);
    const { status } = answer.response;
    if (resolved !== null && status >= 400) {
      // A signed address runs out after a while: ask for a new one.
      object.resolved = null;
      throw new PassingFailure(`${answer.url.host} answered ${status}`);
    }
    const what = `${place.name}: ${key}`;
    if (status >= 400 && status !== 412 && status !== 416) {
      throw (
        place.refusal(key, answer.response, token !== null) ??
        new ServeError('weights_unavailable', `${what} is gone`)
      );
    }
    await receiveRange(what, answer.response, { offset, info, ownEtag }, target, alive);
    if (answer.wasRedirected) object.resolved = answer.url;
  };

  return {
    name: place.name,
    async head(key, signal) {
      return (await describe(key, whileOpen(signal)))?.info ?? null;
    },
    expect(key, info) {
      if (!objects.has(key)) objects.set(key, { info, ownEtag: null, resolved: null });
    },
    async read(key, offset, target, signal) {
      const readSignal = whileOpen(signal);
      const object = await describe(key, readSignal);
      const what = `${place.name}: ${key}`;
      if (object === null) {
        throw new ServeError('weights_unavailable', `${what} does not exist`);
      }
      if (offset + target.length > object.info.sizeBytes) {
        throw new ServeError(
          'weights_unavailable',
          `${what} has ${object.info.sizeBytes} bytes, asked for ${offset} to ${offset + target.length}`,
        );
      }
      if (target.length === 0) return;
      let done = 0;
      await retrying(
        patience,
        what,
        () => done,
        () =>
          runAttempt(patience, readSignal, (attemptSignal, alive) =>
            receive(key, object, offset + done, target.subarray(done), attemptSignal, (count) => {
              done += count;
              alive();
            }),
          ),
        readSignal,
      );
    },
    ...(place.listUrl() === null ? {} : { list: (signal) => list(whileOpen(signal)) }),
    close() {
      closing.abort(new ServeError('internal', `${place.name} is closed`));
      return Promise.resolve();
    },
  };

  async function list(signal: AbortSignal): Promise<readonly string[]> {
    const url = place.listUrl();
    if (url === null) return [];
    const entries: unknown = await retrying(
      patience,
      `${place.name}: list of files`,
      () => 0,
      () =>
        runAttempt(patience, signal, async (attemptSignal) => {
          const answer = await webRequest(web, url, { method: 'GET' }, attemptSignal);
          throwIfPassing(answer);
          if (answer.response.ok) return answer.response.json();
          throw new ServeError(
            'weights_unavailable',
            `${place.name} answered ${answer.response.status} to a request for its files`,
          );
        }),
      signal,
    );
    return Array.isArray(entries) ? entries.map(pathOf).filter((path) => path !== '') : [];
  }
}

function pathOf(entry: unknown): string {
  const path = (entry as { readonly path?: unknown } | null)?.path;
  return typeof path === 'string' ? path : '';
}
