import type {
  EngineModel,
  GenerateEvent,
  PreparedPrompt,
  SamplingParams,
} from '../engine/engine.ts';
import { ServeError } from '../errors.ts';
import { boundedText } from '../lib/bounded-body.ts';
import type { Clock } from '../lib/clock.ts';
import { readLines } from '../lib/lines.ts';
import { LATE, settledWithin } from '../lib/settled-within.ts';
import type { Affinity, AttemptEnd, Direction, Visit } from './affinity.ts';
import { callBlobs } from './call-blobs.ts';
import { createEventReader, type EventReader } from './event-reader.ts';
import { AttemptError, failedAnswer, failureOf, lostAtWork, lostReplica } from './fleet-error.ts';
import type { FleetLink } from './fleet-link.ts';
import type { FleetWatch } from './fleet-watch.ts';
import type { KnownImages } from './known-images.ts';
import { REPLICA_HEADER } from './pins.ts';
import { encodeCall } from './wire-call.ts';
import type { WireEvent } from './wire-events.ts';

export interface AttemptParts {
  readonly affinity: Affinity;
  readonly link: FleetLink;
  readonly watch: FleetWatch;
  readonly known: KnownImages;
  readonly clock: Clock;
  readonly model: EngineModel;
  readonly fingerprint: string | null;
  /** Milliseconds of silence after which a replica counts as lost. */
  readonly stallMs: number;
  /** Milliseconds that a replica may say nothing but that it is there. */
  readonly waitMs: number;
}

export interface Attempt {
  readonly visit: Visit;
  /** The session whose pin is learned; null learns none. */
  readonly learnAs: string | null;
  readonly prompt: PreparedPrompt;
  readonly params: SamplingParams;
  /** The replica took it: what the session is pinned to, and whether it moved. */
  readonly onTaken: (pin: string | null, hasMoved: boolean) => void;
  /** Gets the replica's name as soon as it is known. */
  readonly onReplica: (replica: string) => void;
}

const GENERATE = '/replica/v1/generate';
const CANCEL = '/replica/v1/cancel';
const CANCEL_MS = 5_000;
const MAX_ERROR_BYTES = 64 * 1024;

/**
 * Asks one replica, and yields what it says until its last event.
 * @throws AttemptError; ServeError of `Affinity.apply`; the signal's reason on abort
 */
export async function* attempt(
  parts: AttemptParts,
  { visit, learnAs, prompt, params, onTaken, onReplica }: Attempt,
  signal: AbortSignal | undefined,
): AsyncGenerator<GenerateEvent, void, undefined> {
  const { affinity, clock, stallMs, waitMs, watch } = parts;
  const stop = new AbortController();
  const both = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const direction = await affinity.apply(visit, signal);
  if (direction.replica !== null) onReplica(direction.replica);
  const id = crypto.randomUUID();
  let end: AttemptEnd = 'aborted';
  let isTaken = false;
  try {
    const response = await open(parts, direction, { visit, prompt, params, id }, both);
    isTaken = true;
    const named = direction.replica ?? response.headers.get(REPLICA_HEADER);
    if (named !== null) onReplica(named);
    const pin = affinity.learn(response, { ...visit, session: learnAs }, direction);
    onTaken(pin, affinity.lost(response, visit) === 'moved');
    if (response.body === null) throw lostReplica('gave no answer');
    const reader = createEventReader({
      prompt,
      params,
      vocabSize: parts.model.config.text.vocabSize,
      contextTokens: parts.model.contextTokens,
    });
    const lines = readLines(response.body, reader.maxLineCharacters);
    let spokeMs = clock.now();
    try {
      for (;;) {
        const line = await settledWithin(lines.next(), stallMs, clock);
        if (line === LATE) throw lostAtWork(`said nothing for ${stallMs / 1000} s`);
        if (line.done === true) throw lostAtWork('broke off its answer');
        const event = parse(reader, line.value);
        if (event.type === 'wait') {
          watch.note(event);
          if (clock.now() - spokeMs > waitMs) {
            throw lostReplica(`let the request wait for ${waitMs / 1000} s`);
          }
        } else if (event.type === 'error') {
          throw new AttemptError(failureOf(event.error), event.error, true);
        } else {
          spokeMs = clock.now();
          if (event.type === 'finish') end = 'ok';
          yield event;
          if (event.type === 'finish') return;
        }
      }
    } finally {
      // A body that is silent is given up only when its connection is.
      stop.abort(new DOMException('the answer is not read any more', 'AbortError'));
      await lines.return(undefined).catch(() => undefined);
    }
  } catch (error) {
    if (signal?.aborted === true) throw signal.reason;
    const failure = asAttemptError(error, isTaken);
    end = failure.failure === 'lost' ? 'failed' : failure.failure === 'final' ? 'ok' : 'refused';
    throw failure;
  } finally {
    stop.abort(new DOMException('the attempt is over', 'AbortError'));
    direction.done(end);
    // A load balancer in between may keep the connection, and the replica would go on for nobody.
    if (end === 'aborted') void cancel(parts.link, direction, id);
  }
}

/** Sends the call, with the pictures the replica lacks, and returns an answer that is a success. */
async function open(
  parts: AttemptParts,
  direction: Direction,
  call: Pick<Attempt, 'visit' | 'prompt' | 'params'> & { readonly id: string },
  signal: AbortSignal,
): Promise<Response> {
  const { affinity, link, known, fingerprint, clock, stallMs } = parts;
  const { visit, prompt, params, id } = call;
  /** By which pictures are remembered; a balancer's replica is not known before it answers. */
  const place = direction.replica ?? visit.pin ?? direction.url;
  const nameOf = (sha256: string): string => `${sha256} ${prompt.scope}`;
  let lacking: ReadonlySet<string> | null = null;
  for (let round = 0; ; round++) {
    const isNeeded = (sha256: string): boolean =>
      lacking?.has(sha256) ?? !known.has(place, nameOf(sha256));
    const { blobs, bytes } = callBlobs(prompt.images, isNeeded);
    const header = encodeCall({ id, fingerprint, prompt, params, blobs });
    const sending = link.send(direction, 'POST', GENERATE, header, signal, bytes);
    const response = await settledWithin(sending, stallMs, clock);
    if (response === LATE) throw lostAtWork(`did not answer for ${stallMs / 1000} s`);
    if (affinity.lost(response, visit) === 'gone') {
      await response.body?.cancel();
      throw new AttemptError('gone', new ServeError('draining', 'The replica is gone. Retry.'));
    }
    if (response.ok) {
      for (const { sha256 } of blobs) known.add(place, nameOf(sha256));
      return response;
    }
    const text = await boundedText(response, MAX_ERROR_BYTES).catch(() => '');
    const missing = response.status === 409 ? missingOf(text) : null;
    if (missing === null || round > 0) throw failedAnswer(response.status, text);
    known.remove(place, missing.map(nameOf));
    lacking = new Set(missing);
  }
}

function missingOf(text: string): readonly string[] | null {
  try {
    const { missing } = JSON.parse(text) as { readonly missing?: unknown };
    return Array.isArray(missing) ? missing.map(String) : null;
  } catch {
    return null;
  }
}

function parse(reader: EventReader, line: string): WireEvent {
  try {
    return reader.read(line);
  } catch (cause) {
    throw lostReplica('said what no replica says', cause);
  }
}

/** @param isTaken whether the replica had begun to work on it */
function asAttemptError(error: unknown, isTaken: boolean): AttemptError {
  if (error instanceof AttemptError) return error;
  if (ServeError.is(error)) return new AttemptError(failureOf(error), error);
  return isTaken
    ? lostAtWork('broke off its answer', error)
    : lostReplica('cannot be reached', error);
}

async function cancel(link: FleetLink, direction: Direction, id: string): Promise<void> {
  try {
    const body = new TextEncoder().encode(JSON.stringify({ id }));
    const response = await link.send(
      direction,
      'POST',
      CANCEL,
      body,
      AbortSignal.timeout(CANCEL_MS),
    );
    await response.body?.cancel();
  } catch {
    // It has noticed by itself, or is gone.
  }
}
