import { beginningOf, boundedText } from '../../src/lib/bounded-body.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { LATE, settledWithin } from '../../src/lib/settled-within.ts';
import { isObject, type JsonObject } from '../../src/openai/parse.ts';
import { readSse } from '../../src/openai/read-sse.ts';
import { ServeError } from '../../src/errors.ts';
import { FRAME_CHARACTERS } from './answer-bounds.ts';
import { explainFailure, failureInBand, isMissing, lost, readFailure } from './fault.ts';
import { createHideSent } from './hide-sent.ts';

export interface LinkOptions {
  /** Without a slash at its end. */
  readonly baseUrl: string;
  readonly apiKey: string | null;
  /** Sent with every request, as a platform in front of the server may want them. */
  readonly headers: Readonly<Record<string, string>>;
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
  readonly clock: Clock;
  /** Milliseconds of silence after which the server counts as lost. */
  readonly stallMs: number;
}

/** Requests to the upstream server. All of them throw ServeErrors, or the signal's reason on abort. */
export interface UpstreamLink {
  get(path: string, signal?: AbortSignal): Promise<JsonObject>;
  /** Throws away what it says. @returns whether it has such a route */
  probe(path: string, signal?: AbortSignal): Promise<boolean>;
  post(path: string, body: JsonObject, signal?: AbortSignal): Promise<JsonObject>;
  /**
   * The JSON frames of an event stream until `[DONE]` or its end, pulled one by one; an answer that is
   * no stream is one frame. Leaving the loop or aborting closes the connection, which is how servers
   * notice. Whether the stream was whole is for the reader to tell: not all servers send `[DONE]`.
   */
  frames(
    path: string,
    body: JsonObject,
    signal: AbortSignal | undefined,
    options: FramesOptions,
  ): AsyncGenerator<JsonObject, void, undefined>;
}

export interface FramesOptions {
  readonly headers: Readonly<Record<string, string>>;
  /** Of one frame. */
  readonly maxCharacters: number;
}

const MAX_ERROR_BYTES = 64 * 1024;
/** Of an answer, for each character of the request: a character may become three ids of seven digits. */
const BYTES_PER_CHARACTER = 24;
/** Milliseconds for which signs of life count in place of a word; a cold server may wait long. */
const WORDLESS_MS = 30 * 60_000;
/** What is shorter is no secret, and may be part of any word. */
const SECRET_CHARACTERS = 8;

export function createLink(options: LinkOptions): UpstreamLink {
  const { baseUrl, apiKey, clock, stallMs } = options;
  const values = Object.values(options.headers).filter(({ length }) => length >= SECRET_CHARACTERS);
  const secrets = [apiKey ?? '', baseUrl, new URL(baseUrl).host, ...values];

  /** For a server's words about a request with this body. */
  function hider(body: JsonObject | null): (text: string) => string {
    const hideSent = createHideSent(body);
    return (text) =>
      hideSent(
        secrets.reduce(
          (shown, secret) => (secret === '' ? shown : shown.replaceAll(secret, '...')),
          text,
        ),
      );
  }

  /** A name that stands twice, in whatever case, has the later value. */
  function headersOf(body: JsonObject | null, more: Readonly<Record<string, string>>): Headers {
    const headers = new Headers(options.headers);
    if (apiKey !== null) headers.set('authorization', `Bearer ${apiKey}`);
    if (body !== null) headers.set('content-type', 'application/json');
    for (const [name, value] of Object.entries(more)) headers.set(name, value);
    return headers;
  }

  async function send(
    method: 'GET' | 'POST',
    path: string,
    body: JsonObject | null,
    signal: AbortSignal,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Response> {
    const response = await options.fetch(`${baseUrl}${path}`, {
      method,
      headers: headersOf(body, headers),
      ...(body === null ? {} : { body: JSON.stringify(body) }),
      // A redirect would carry prompt and key to who knows where.
      redirect: 'manual',
      signal,
    });
    if (response.ok) return response;
    const text = await beginningOf(response, MAX_ERROR_BYTES);
    throw explainFailure(readFailure(response.status, response.headers, text), hider(body));
  }

  /** Waits until nothing has arrived for too long, or nothing but signs of life for much longer. */
  async function heard<T>(pending: Promise<T>, signs: () => number): Promise<T> {
    const wordlessMs = Math.max(WORDLESS_MS, stallMs);
    const startedMs = clock.now();
    for (;;) {
      const before = signs();
      const result = await settledWithin(pending, stallMs, clock);
      if (result !== LATE) return result;
      const isSilent = signs() === before;
      if (!isSilent && clock.now() - startedMs < wordlessMs) continue;
      pending.catch(() => undefined); // it fails when the connection is closed
      throw isSilent
        ? lost(`said nothing for ${stallMs / 1000} s`)
        : lost(`said no word for ${wordlessMs / 1000} s`);
    }
  }

  async function whole(
    method: 'GET' | 'POST',
    path: string,
    body: JsonObject | null,
    signal: AbortSignal | undefined,
  ): Promise<string> {
    let text = '';
    const sent = body === null ? 0 : JSON.stringify(body).length;
    const maxBytes = FRAME_CHARACTERS + BYTES_PER_CHARACTER * sent;
    const read = async (both: AbortSignal): Promise<string> =>
      boundedText(await send(method, path, body, both), maxBytes);
    const answer = exchange(signal, async function* answerOnce(both) {
      yield await heard(read(both), silent);
    });
    for await (const all of answer) text = all;
    return text;
  }

  return {
    get: async (path, signal) => parseFrame(await whole('GET', path, null, signal)),
    async probe(path, signal) {
      try {
        await whole('GET', path, null, signal);
        return true;
      } catch (error) {
        if (isMissing(error)) return false;
        throw error;
      }
    },
    post: async (path, body, signal) => parseFrame(await whole('POST', path, body, signal)),
    frames: (path, body, signal, { headers, maxCharacters }) =>
      exchange(signal, async function* framesOnce(both) {
        const response = await heard(send('POST', path, body, both, headers), silent);
        const type = response.headers.get('content-type') ?? '';
        if (response.body === null) throw lost('gave no answer');
        if (!type.startsWith('text/event-stream')) {
          const text = await heard(boundedText(response, maxCharacters), silent);
          yield checked(parseFrame(text), body, hider);
          return;
        }
        let signs = 0;
        const countSign = (): void => {
          signs++;
        };
        const events = readSse(response.body, countSign, maxCharacters);
        try {
          for (;;) {
            const event = await heard(events.next(), () => signs);
            if (event.done === true || event.value === '[DONE]') return;
            yield checked(parseFrame(event.value), body, hider);
          }
        } finally {
          // Not awaited: a read under way ends only when the connection is closed, which comes next.
          void events.return(undefined).catch(() => undefined);
        }
      }),
  };
}

/** Runs one request, whose connection is closed when it ends, however it does. */
async function* exchange<T>(
  signal: AbortSignal | undefined,
  run: (signal: AbortSignal) => AsyncGenerator<T, void, undefined>,
): AsyncGenerator<T, void, undefined> {
  signal?.throwIfAborted();
  const stop = new AbortController();
  const both = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  try {
    yield* run(both);
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof RangeError) throw lost('said more than it was asked for', error);
    throw ServeError.is(error) ? error : lost('broke off, or cannot be reached', error);
  } finally {
    stop.abort(new DOMException('the answer is not read any more', 'AbortError'));
  }
}

function silent(): number {
  return 0;
}

function checked(
  frame: JsonObject,
  sent: JsonObject,
  hider: (sent: JsonObject) => (text: string) => string,
): JsonObject {
  const failure = failureInBand(frame);
  if (failure !== null) throw explainFailure(failure, hider(sent));
  return frame;
}

function parseFrame(text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The text may hold a prompt, and what JSON.parse throws quotes it: not even the log gets it.
    throw lost('said what is no JSON', new Error(`${text.length} characters`));
  }
  if (isObject(value)) return value;
  throw lost('said JSON that is no object');
}
