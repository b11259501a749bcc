import { ServeError } from '../errors.ts';
import type {
  FinishReason,
  GenerateEvent,
  PreparedPrompt,
  SamplingParams,
  StoreUse,
  TokenBytes,
  TokenLogprobs,
} from './engine.ts';
import { createEventQueue } from './event-queue.ts';
import type { EventQueue } from './event-queue.ts';
import type { KvUser } from './kv/kv-user.ts';
import { contentOf } from './kv/content.ts';
import type { ImageLease } from './image-encoder.ts';
import type { Preemptible } from './queue/preempt.ts';
import type { Waiter } from './queue/waiting-line.ts';
import type { TokenHistory } from './sampler.ts';
import type { Schedulable } from './scheduler.ts';
import type { Draftable } from './speculation.ts';
import { concat, createStopMatcher } from './stop-matcher.ts';
import type { StopMatcher } from './stop-matcher.ts';

/** Unread events after which a sequence pauses until its reader catches up. */
const EVENT_LIMIT = 32;

const NO_BYTES = new Uint8Array(0);

export interface SequenceOptions {
  readonly prompt: PreparedPrompt;
  readonly params: SamplingParams;
  readonly tokens: TokenBytes;
  /** Ids that end every output of the model. */
  readonly eosIds: readonly number[];
  readonly arrivedMs: number;
  readonly tokensPerImage: number;
  /** The reader of a full event queue took an event. */
  readonly onRoom: () => void;
}

/** How a sequence came to its end, for statistics. */
export type Outcome = FinishReason | 'abort' | 'error';

/** The last tokens of a prompt are always computed: their logits are needed, and one alone rounds differently. */
const COMPUTED_AT_LEAST = 2;

/**
 * One request inside the engine, as counters: `computed` tokens are in the row, the prompt has
 * `promptTokens`, and the last generated token is the one not computed yet. Prefill and decode are
 * only different distances between them. A sequence that lost its row resumes by getting everything
 * but its last token back.
 */
export class Sequence implements Schedulable, Draftable, KvUser, Preemptible, Waiter {
  readonly prompt: PreparedPrompt;
  readonly params: SamplingParams;
  readonly promptTokens: number;
  readonly imagePositions: readonly number[];
  readonly wantsTokens: boolean;
  readonly wantsPromptLogprobs: boolean;
  readonly events: EventQueue<GenerateEvent>;
  readonly history: TokenHistory;
  readonly scope: string;
  readonly tenant: string;
  readonly words: Int32Array;
  /** By image; null before admission and for images that need not be computed. */
  images: readonly (ImageLease | null)[] = [];
  row: number | null = null;
  computed = 0;
  /** Prompt tokens whose keys and values were reused when it began. */
  cachedTokens = 0;
  /** Set before it queues. */
  store: StoreUse | null = null;
  completionTokens = 0;
  /** Bytes of text its reader gets. */
  textBytes = 0;
  /** The newest generated token, input of the next decode. */
  lastToken = 0;
  /** Set once; the row is freed before the next step. */
  outcome: Outcome | null = null;
  /** A step with it failed: nobody knows what is in its row. */
  isBroken = false;
  /** Its logits were unusable: nothing of what is held of its content may be used again. */
  isDistrusted = false;
  /** Computes everything itself. */
  reusesNothing = false;
  readonly arrivedMs: number;
  /** null before it got its first row. */
  admittedMs: number | null = null;
  /** When it got the row it has, and what it had generated and computed then. */
  rowSinceMs = 0;
  completionTokensAtRow = 0;
  computedAtRow = 0;
  /** Since when its reader has been behind; null while it is not. */
  pausedSinceMs: number | null = null;
  /** null before the whole prompt was in the row. */
  private prefillEndMs: number | null = null;
  private readonly tokensPerImage: number;
  private readonly tokens: TokenBytes;
  private readonly endIds: ReadonlySet<number>;
  private readonly matcher: StopMatcher;
  private readonly outputCounts = new Map<number, number>();
  /** One per prompt token; those never predicted (the first, image soft tokens) stay null. */
  private readonly promptLogprobs: (TokenLogprobs | null)[] | null;

  constructor(options: SequenceOptions) {
    const { prompt, params } = options;
    this.prompt = prompt;
    this.params = params;
    this.promptTokens = prompt.tokens.length;
    this.imagePositions = prompt.images.map(({ position }) => position);
    this.wantsTokens = params.maxTokens > 0;
    this.scope = prompt.scope;
    this.tenant = prompt.tenant ?? '';
    this.words = new Int32Array(this.promptTokens + params.maxTokens);
    this.words.set(contentOf(prompt, options.tokensPerImage));
    this.wantsPromptLogprobs = params.promptLogprobs !== null;
    this.promptLogprobs = this.wantsPromptLogprobs
      ? Array.from({ length: this.promptTokens }, () => null)
      : null;
    this.events = createEventQueue(EVENT_LIMIT, options.onRoom);
    this.tokensPerImage = options.tokensPerImage;
    this.tokens = options.tokens;
    this.endIds = new Set(
      params.ignoreEos ? params.stopIds : [...options.eosIds, ...params.stopIds],
    );
    this.matcher = createStopMatcher(params.stop, params.includesStop);
    const looksBack = params.repetitionPenalty !== 1;
    this.history = {
      prompt: Int32Array.from(new Set(looksBack ? prompt.tokens : [])).toSorted(),
      output: this.outputCounts,
      ends: this.endIds,
    };
    this.arrivedMs = options.arrivedMs;
    if (prompt.answer !== undefined) this.replay(prompt.answer);
  }

  /** Takes what was generated elsewhere, of which its reader has heard. It may be the whole answer. */
  private replay(answer: Int32Array): void {
    // Of an answer that has not begun its reader has not heard of the prompt either, or not surely.
    if (answer.length > 0) this.prefillEndMs = this.arrivedMs;
    for (const id of answer) {
      if (this.outcome !== null) {
        throw new ServeError('invalid_request', 'The answer to go on from is over before its end.');
      }
      this.append(id, null, this.arrivedMs, true);
    }
  }

  get prefillTokens(): number {
    return this.promptTokens + Math.max(0, this.completionTokens - 1);
  }

  get knownTokens(): number {
    return this.promptTokens + this.completionTokens;
  }

  get maxTokensLeft(): number {
    return this.params.maxTokens - this.completionTokens;
  }

  get isResuming(): boolean {
    return this.completionTokens > 0;
  }

  get reusableTokens(): number {
    if (this.reusesNothing) return 0;
    if (this.isResuming) return this.prefillTokens;
    // What is said of every prompt token has to be computed.
    if (this.wantsPromptLogprobs) return 0;
    return Math.max(0, this.promptTokens - COMPUTED_AT_LEAST);
  }

  get wantsLogits(): boolean {
    return this.wantsTokens && this.completionTokens === 0;
  }

  get isPaused(): boolean {
    return this.events.isFull;
  }

  isImageReady(imageIndex: number): boolean {
    return (this.images[imageIndex]?.embedding ?? null) !== null;
  }

  /** Whether an image takes this position. */
  isSoftToken(position: number): boolean {
    return this.imagePositions.some(
      (start) => position >= start && position < start + this.tokensPerImage,
    );
  }

  /** Keeps what the logits at prompt position `position - 1` said of the token at `position`. */
  setPromptLogprobs(position: number, logprobs: TokenLogprobs): void {
    if (this.promptLogprobs !== null) this.promptLogprobs[position] = logprobs;
  }

  /** The whole prompt is in the row, perhaps not for the first time. */
  endPrefill(nowMs: number): void {
    const isKnown = this.prefillEndMs !== null;
    this.prefillEndMs = nowMs;
    if (isKnown) return;
    this.events.push({
      type: 'prefill-end',
      tokens: this.prompt.tokens,
      promptTokens: this.promptTokens,
      cachedTokens: this.cachedTokens,
      store: this.store,
      promptLogprobs: this.promptLogprobs,
    });
    if (!this.wantsTokens) this.finish('length', nowMs, NO_BYTES, null, null);
  }

  /** Lets go of all images; they can be acquired again. */
  releaseImages(): void {
    for (const image of this.images) image?.release();
    this.images = [];
  }

  /** Ids generated so far. */
  get completion(): Int32Array {
    return this.words.subarray(this.promptTokens, this.promptTokens + this.completionTokens);
  }

  /** Takes the next generated token. */
  append(id: number, logprobs: TokenLogprobs | null, nowMs: number, isSilent = false): void {
    this.lastToken = id;
    this.words[this.promptTokens + this.completionTokens] = id;
    this.completionTokens++;
    this.outputCounts.set(id, (this.outputCounts.get(id) ?? 0) + 1);
    if (this.endIds.has(id)) {
      if (!isSilent) this.events.push({ type: 'token', id, bytes: NO_BYTES, logprobs });
      const own = this.params.includesStop ? this.tokens.bytes(id) : NO_BYTES;
      this.finish('stop', nowMs, concat(this.matcher.flush(), own), null, id);
      return;
    }
    const bytes = this.tokens.bytes(id);
    // Stop strings count where they begin after the least number of tokens.
    const { released, stopIndex } =
      this.completionTokens <= this.params.minTokens
        ? { released: bytes, stopIndex: null }
        : this.matcher.push(bytes);
    this.textBytes += released.length;
    if (!isSilent) this.events.push({ type: 'token', id, bytes: released, logprobs });
    if (stopIndex !== null) {
      this.finish('stop', nowMs, NO_BYTES, stopIndex, null);
    } else if (this.completionTokens >= this.params.maxTokens) {
      this.finish('length', nowMs, this.matcher.flush(), null, null);
    }
  }

  /**
   * Its logits are unusable. What was reused may be to blame, once; else it ends with `error`, and nothing
   * that it has computed is kept.
   */
  distrust(error: unknown): void {
    this.isDistrusted = true;
    if (this.computedAtRow > 0 && !this.reusesNothing) return;
    this.isBroken = true;
    this.fail(error);
  }

  /** Begins anew, without anything that was computed before; what its reader has heard stays said. */
  startOver(): void {
    this.isDistrusted = false;
    this.reusesNothing = true;
    this.computed = 0;
    this.cachedTokens = 0;
    this.store = null;
  }

  /** Ends the sequence with an error its reader gets after what it has not read yet. */
  fail(error: unknown): void {
    this.outcome ??= 'error';
    this.events.fail(error);
  }

  /** Ends the sequence because nobody wants its events any more. */
  abort(reason: unknown): void {
    this.outcome ??= 'abort';
    this.events.abort(reason);
  }

  private finish(
    reason: FinishReason,
    nowMs: number,
    bytes: Uint8Array,
    stopIndex: number | null,
    stopId: number | null,
  ): void {
    this.outcome = reason;
    this.textBytes += bytes.length;
    this.events.push({
      type: 'finish',
      reason,
      bytes,
      stopIndex,
      stopId,
      promptTokens: this.promptTokens,
      cachedTokens: this.cachedTokens,
      completionTokens: this.completionTokens,
      timings: {
        queueMs: elapsed(this.arrivedMs, this.admittedMs ?? nowMs),
        prefillMs: elapsed(this.admittedMs ?? nowMs, this.prefillEndMs ?? nowMs),
        decodeMs: elapsed(this.prefillEndMs ?? nowMs, nowMs),
      },
    });
    this.events.end();
  }
}

/** Wall clocks may be set back; a duration is never negative. */
function elapsed(fromMs: number, toMs: number): number {
  return Math.max(0, toMs - fromMs);
}
