import { checkPrompt } from '../engine/queue/admission.ts';
import type {
  Engine,
  EngineModel,
  GenerateEvent,
  PreparedPrompt,
  SamplingParams,
  TokenBytes,
} from '../engine/engine.ts';
import { createSaidMemory } from '../engine/said.ts';
import { ServeError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { Affinity } from './affinity.ts';
import { createAnswerSoFar, type AnswerSoFar } from './answer-so-far.ts';
import { attempt, type AttemptParts } from './attempt.ts';
import { AttemptError, type AttemptFailure } from './fleet-error.ts';
import type { FleetLink } from './fleet-link.ts';
import type { FleetWatch } from './fleet-watch.ts';
import { createLostCalls } from './lost-calls.ts';
import { createKnownImages } from './known-images.ts';
import { createPlaces, type Place } from './place.ts';
import type { SessionTable } from './session-table.ts';

/** An engine that computes nothing in this process, so that there are no stats. */
export type RemoteEngine = Omit<Engine, 'stats'>;

export interface RemoteEngineOptions {
  readonly model: EngineModel;
  /** Of the model; null is not compared. */
  readonly fingerprint: string | null;
  readonly tokens: TokenBytes;
  readonly affinity: Affinity;
  readonly sessions: SessionTable;
  readonly link: FleetLink;
  readonly watch: FleetWatch;
  /** The fleet's newest key. */
  readonly key: string;
  readonly clock: Clock;
  /** Replicas that are asked for one answer at most; default 6. */
  readonly maxAttempts?: number;
  /** Milliseconds of silence after which a replica counts as lost; it speaks every 5 s. Default 20 s. */
  readonly stallMs?: number;
  /** Milliseconds that a replica may say nothing of an answer but that it is there; default 15 minutes. */
  readonly waitMs?: number;
  /** Whether conversations without a name go back to where they were; default true. */
  readonly remembersUnnamed?: boolean;
  /** Observes; must not throw. */
  readonly onEvent?: (event: FleetEvent) => void;
}

/** What happens between a gateway and its fleet; never with prompts, answers or names. */
export type FleetEvent =
  | { readonly type: 'attempt-failed'; readonly failure: AttemptFailure; readonly error: unknown }
  /** Asked how it is, a replica does not answer, or not as replicas do: at first, and every minute. */
  | { readonly type: 'replica-down'; readonly url: string; readonly error: unknown }
  | { readonly type: 'replica-up'; readonly url: string }
  /** A conversation was answered by another replica than before. */
  | { readonly type: 'session-moved' }
  /** An answer that had begun goes on elsewhere. */
  | { readonly type: 'answer-continued'; readonly completionTokens: number };

const MAX_ATTEMPTS = 6;
const STALL_MS = 20_000;
const WAIT_MS = 15 * 60_000;
/** Replicas that one request may be lost with, before anything was said of its answer. */
const MAX_LOST_AT_WORK = 2;
/** Before the second attempt and on; the first retry is at once. */
const FIRST_BACKOFF_MS = 50;
/** Ids of answers to remember, in all. */
const SAID_TOKENS = 2 ** 18;

/**
 * The engine of a fleet: prepared prompts go to a replica, and where that is lost before its answer is
 * whole, to another one, which goes on after what was said. Its reader sees one answer.
 */
export function createRemoteEngine(options: RemoteEngineOptions): RemoteEngine {
  const { model, tokens, clock, watch } = options;
  const { vision } = model.config;
  const tokensPerImage = vision?.tokensPerImage ?? 0;
  const maxAttempts = options.maxAttempts ?? MAX_ATTEMPTS;
  const onEvent = options.onEvent ?? ((): void => undefined);
  const said = createSaidMemory({ maxTokens: SAID_TOKENS, tokens, tokensPerImage });
  const places = createPlaces({
    sessions: options.sessions,
    key: options.key,
    tokensPerImage,
    remembersUnnamed: options.remembersUnnamed ?? true,
  });
  const parts: AttemptParts = {
    affinity: options.affinity,
    link: options.link,
    watch,
    known: createKnownImages(),
    clock,
    model,
    fingerprint: options.fingerprint,
    waitMs: options.waitMs ?? WAIT_MS,
    stallMs: options.stallMs ?? STALL_MS,
  };
  const lostCalls = createLostCalls(clock);
  let state: 'ready' | 'draining' | 'closed' = 'ready';
  const stop = new AbortController();
  const running = new Set<object>();
  const idle = new Set<() => void>();

  /** The prompt with the ids that were said, whoever said them. */
  function resolve(asked: PreparedPrompt, params: SamplingParams): PreparedPrompt {
    if (params.promptLogprobs !== null) return asked;
    return said.resolve(asked, model.contextTokens - params.maxTokens);
  }

  /** Decides what follows a failed attempt. @throws what ends the answer */
  async function recover(
    error: unknown,
    tries: Tries,
    place: Place,
    soFar: AnswerSoFar,
    signal: AbortSignal,
  ): Promise<void> {
    signal.throwIfAborted();
    const isAttempt = error instanceof AttemptError;
    const reason = isAttempt ? error.reason : error;
    const failure = isAttempt ? error.failure : placingFailure(error);
    onEvent({ type: 'attempt-failed', failure, error: reason });
    if (failure === 'final') throw reason;
    if (failure === 'gone') place.pin = null;
    if (isAttempt && error.wasAtWork && failure === 'lost' && !soFar.hasBegun) {
      await countLoss(tries, soFar.prompt, reason);
    }
    const isNobodyLeft = failure === 'lost' && tries.count + 1 >= options.affinity.targets().length;
    if (failure === 'cold' || isNobodyLeft) {
      watch.noteCold();
      await watch.untilReady(signal);
    }
    // A cold fleet that never warms up is bounded by its own time; this bounds one that only says so.
    if (++tries.count >= maxAttempts) throw reason;
    if (tries.count > 1) {
      await clock.sleep(FIRST_BACKOFF_MS * 2 ** tries.count, signal);
    }
  }

  /**
   * A replica was lost with a request of which nothing came. It may be the request that did it: pictures in the
   * client's own files are not tried again, all else once. @throws what ends the answer
   */
  async function countLoss(tries: Tries, prompt: PreparedPrompt, reason: unknown): Promise<void> {
    tries.lostAtWork++;
    const hasFiles = prompt.images.some(({ image }) => image.original !== undefined);
    if (tries.lostAtWork < MAX_LOST_AT_WORK && !hasFiles) return;
    if (tries.lostAtWork >= MAX_LOST_AT_WORK) await lostCalls.note(prompt);
    throw reason;
  }

  async function* answer(
    place: Place,
    soFar: AnswerSoFar,
    params: SamplingParams,
    signal: AbortSignal,
  ): AsyncGenerator<GenerateEvent, void, undefined> {
    const avoid = new Set<string>();
    const tries = { count: 0, lostAtWork: 0 };
    for (;;) {
      const { prompt } = soFar;
      let replica: string | null = null;
      const events = attempt(
        parts,
        {
          visit: {
            session: place.session,
            pin: place.pin,
            avoid,
            tokens: prompt.tokens.length + params.maxTokens,
          },
          learnAs: place.learnAs,
          prompt,
          params,
          onTaken(pin, hasMoved) {
            place.pin = pin;
            if (hasMoved) onEvent({ type: 'session-moved' });
          },
          onReplica(name) {
            replica = name;
          },
        },
        signal,
      );
      try {
        for await (const event of events) {
          watch.noteReady();
          const told = soFar.take(event, clock.now());
          if (told !== null) yield told;
        }
        return;
      } catch (error) {
        await recover(error, tries, place, soFar, signal);
        if (replica !== null) avoid.add(replica);
        soFar.restart();
        if (soFar.hasBegun) {
          onEvent({ type: 'answer-continued', completionTokens: soFar.ids.length });
        }
      }
    }
  }

  async function* generate(
    asked: PreparedPrompt,
    params: SamplingParams,
    signal?: AbortSignal,
  ): AsyncGenerator<GenerateEvent, void, undefined> {
    if (state !== 'ready') throw notServing(state);
    checkPrompt(model, asked, params);
    const call = {};
    const both = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
    running.add(call);
    try {
      both.throwIfAborted();
      await lostCalls.refuse(asked);
      const place = await places.open(asked, both);
      try {
        const soFar = createAnswerSoFar(resolve(asked, params), vision);
        for await (const event of answer(place, soFar, params, both)) {
          if (event.type === 'prefill-end') place.begun();
          if (event.type === 'finish') {
            const { answer: _answer, ...prompt } = soFar.prompt;
            said.remember(prompt, soFar.ids, soFar.textBytes);
          }
          yield event;
        }
      } finally {
        await place.release();
      }
    } finally {
      running.delete(call);
      if (running.size === 0) {
        for (const wake of idle) wake();
        idle.clear();
      }
    }
  }

  return {
    model,
    get state() {
      return state;
    },
    generate,
    async drain(deadlineMs) {
      if (state === 'closed') return;
      state = 'draining';
      const timer = new AbortController();
      const over = clock.sleep(deadlineMs, timer.signal).catch(() => undefined);
      if (running.size > 0) {
        await Promise.race([over, new Promise<void>((done) => idle.add(done))]);
      }
      timer.abort();
      stop.abort(notServing('draining'));
    },
    async close() {
      state = 'closed';
      stop.abort(notServing('closed'));
    },
  };
}

interface Tries {
  count: number;
  /** Replicas that had the request when they were lost. */
  lostAtWork: number;
}

/** Errors of placing: nobody is up, or nobody has room. */
function placingFailure(error: unknown): 'cold' | 'refused' | 'final' {
  if (!ServeError.is(error)) return 'final';
  if (error.code === 'model_loading' || error.code === 'upstream_unavailable') return 'cold';
  return error.code === 'queue_full' || error.code === 'draining' ? 'refused' : 'final';
}

function notServing(state: string): ServeError {
  return new ServeError(
    'draining',
    `The gateway is ${state} and takes no more work. Retry elsewhere.`,
  );
}
