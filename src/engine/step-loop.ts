import type { Clock } from '../lib/clock.ts';
import type { Backend } from './backend.ts';
import type { EngineEvent } from './engine-event.ts';
import type { ImageEncoder } from './image-encoder.ts';
import type { KvMemory } from './kv/kv-memory.ts';
import type { PhaseTimes } from './phase-times.ts';
import { chooseVictim } from './preempt.ts';
import { createStepRunner } from './run-step.ts';
import { schedule } from './scheduler.ts';
import type { Sequence } from './sequence.ts';
import type { Speculation, SpeculationTotals } from './speculation.ts';
import { createStepMeter } from './step-meter.ts';
import { asServeError, type Update } from './step.ts';

export interface StepLoopOptions {
  readonly backend: Backend;
  readonly kv: KvMemory;
  readonly encoder: ImageEncoder;
  readonly update: Update;
  /** null: every token is decoded by itself. */
  readonly speculation: Speculation<Sequence> | null;
  readonly clock: Clock;
  readonly tokensPerImage: number;
  /** Milliseconds one step may hold up running decodes with prompt work. */
  readonly prefillBudgetMs: number;
  /** Milliseconds after which a running sequence makes way for a waiting one; may be Infinity. */
  readonly sliceMs: number;
  readonly onEvent: (event: EngineEvent) => void;
  /** Called with sequences that ended, before they lose their row; null: nothing to do. */
  readonly beforeRelease: ((sequence: Sequence) => Promise<void>) | null;
}

/** The sequences of an engine and the steps that compute them; runs only while there is work. */
export interface StepLoop {
  readonly running: readonly Sequence[];
  readonly waiting: readonly Sequence[];
  readonly totals: LoopTotals;
  /** How fast prompts are computed; null before any was. */
  readonly prefillTokensPerSecond: number | null;
  /** Milliseconds a sequence takes from row to end, lately. */
  readonly meanSequenceMs: number;
  add(sequence: Sequence): void;
  /** Lets go of a sequence; its row is free before the next step. Ended ones stay as they are. */
  cancel(sequence: Sequence, reason: unknown): void;
  failAll(error: unknown): void;
  /** Something changed: a reader caught up, an image is ready. */
  wake(): void;
  /** Resolves once nothing runs or waits and no step is under way. */
  idle(): Promise<void>;
}

export interface LoopTotals {
  readonly preemptions: number;
  readonly recomputedTokens: number;
  readonly steps: number;
  readonly phaseMs: PhaseTimes;
  readonly speculation: SpeculationTotals;
}

/** Milliseconds a sequence is taken to last before one has ended. */
const FIRST_SEQUENCE_GUESS_MS = 2000;
/** Waiting sequences looked at for one row: those behind a promised prefix must not wait with it. */
const LOOK_AHEAD = 32;

const NO_SPECULATION: SpeculationTotals = { drafts: 0, draftTokens: 0, acceptedTokens: 0 };

export function createStepLoop(options: StepLoopOptions): StepLoop {
  const { backend, kv, encoder, speculation, clock, onEvent } = options;
  const meter = createStepMeter();
  const runStep = createStepRunner({ ...options, meter });
  let running: Sequence[] = [];
  let waiting: Sequence[] = [];
  let looping: Promise<void> | null = null;
  /** Something changed since the loop last looked. */
  let hasNews = false;
  let whenIdle: (() => void)[] = [];
  let meanSequenceMs = FIRST_SEQUENCE_GUESS_MS;
  let preemptions = 0;
  let recomputedTokens = 0;

  function wake(): void {
    hasNews = true;
    looping ??= loop();
  }

  async function loop(): Promise<void> {
    // Requests of the same moment share the first step.
    await Promise.resolve();
    try {
      while (hasNews) {
        hasNews = false;
        await stepWhilePossible();
      }
    } catch (error) {
      // Only a defect gets here. Nobody may wait for ever because of it.
      failAll(asServeError(error, 'The step loop'));
    }
    looping = null;
    if (running.length > 0 || waiting.length > 0) return;
    const resolvers = whenIdle;
    whenIdle = [];
    for (const resolve of resolvers) resolve();
  }

  async function stepWhilePossible(): Promise<void> {
    for (;;) {
      await reap();
      const startedMs = clock.now();
      await admit();
      kv.gather(running);
      const movedMs = Math.max(0, clock.now() - startedMs);
      meter.phases.add('rowMoves', movedMs);
      const planned = schedule({
        running,
        chunkNumber: meter.chunks,
        limits: {
          chunkTokens: backend.chunkTokens,
          tokensPerImage: options.tokensPerImage,
          budgetTokens: (start) => meter.tokensIn(options.prefillBudgetMs - movedMs, start),
        },
      });
      if (planned.decode.length === 0 && planned.chunk === null) return;
      await runStep(speculation?.plan(planned) ?? planned);
    }
  }

  /** Lets go of sequences that ended since the last step, or whose image failed. */
  async function reap(): Promise<void> {
    const nowMs = clock.now();
    for (const sequence of running) {
      sequence.pausedSinceMs = sequence.isPaused ? (sequence.pausedSinceMs ?? nowMs) : null;
      if (sequence.outcome !== null) continue;
      for (const image of sequence.images) {
        const failure = image?.failure ?? null;
        if (failure !== null) sequence.fail(asServeError(failure.error, 'Encoding an image'));
      }
    }
    const ended = running.filter(({ outcome }) => outcome !== null);
    if (ended.length === 0) return;
    running = running.filter(({ outcome }) => outcome === null);
    for (const sequence of ended) {
      await options.beforeRelease?.(sequence);
      kv.release(sequence, !sequence.isBroken);
      end(sequence);
    }
  }

  function end(sequence: Sequence): void {
    sequence.releaseImages();
    speculation?.end(sequence);
    const { outcome, admittedMs } = sequence;
    if ((outcome === 'stop' || outcome === 'length') && admittedMs !== null) {
      meanSequenceMs += 0.2 * (Math.max(0, clock.now() - admittedMs) - meanSequenceMs);
    }
    onEvent({
      type: 'sequence-end',
      outcome: outcome ?? 'abort',
      promptTokens: sequence.promptTokens,
      cachedTokens: sequence.cachedTokens,
      completionTokens: sequence.completionTokens,
    });
  }

  /** Gives rows to waiting sequences in order, taking rows from others where that is due. */
  async function admit(): Promise<void> {
    let looked = 0;
    while (looked < Math.min(waiting.length, LOOK_AHEAD)) {
      const sequence = waiting[looked] as Sequence;
      // Nothing could be told to its reader yet; a place in a row would be wasted.
      if (sequence.isPaused) {
        looked++;
        continue;
      }
      if (!kv.hasIdleRow && !(await preempt())) return;
      // Making room took a moment, in which it may have been cancelled.
      if (sequence.outcome !== null) continue;
      const placement = kv.find(sequence);
      if (placement === null) return;
      if (kv.isPromised(sequence, running, placement.cachedTokens)) {
        looked++;
        continue;
      }
      waiting = waiting.filter((other) => other !== sequence);
      running.push(sequence);
      await kv.acquire(sequence, placement);
      begin(sequence);
    }
  }

  function begin(sequence: Sequence): void {
    const nowMs = clock.now();
    sequence.rowSinceMs = nowMs;
    sequence.completionTokensAtRow = sequence.completionTokens;
    if (sequence.admittedMs === null) {
      sequence.admittedMs = nowMs;
      sequence.cachedTokens = sequence.computed;
    } else {
      recomputedTokens += sequence.prefillTokens - sequence.computed;
    }
    onEvent({
      type: 'sequence-begin',
      promptTokens: sequence.promptTokens,
      cachedTokens: sequence.computed,
      isResumed: sequence.isResuming,
    });
    if (sequence.outcome !== null) return;
    sequence.images = sequence.prompt.images.map(({ position, image }) =>
      position < sequence.computed ? null : encoder.acquire(image),
    );
  }

  /** Takes the row of one running sequence, which then waits for its turn again. */
  async function preempt(): Promise<boolean> {
    const victim = chooseVictim(running, clock.now(), options.sliceMs);
    if (victim === null) return false;
    preemptions++;
    await kv.save(victim);
    kv.release(victim, true);
    victim.releaseImages();
    running = running.filter((other) => other !== victim);
    onEvent({ type: 'preemption', computedTokens: victim.computed });
    if (victim.outcome === null) waiting.push(victim);
    else end(victim);
    victim.computed = 0;
    return true;
  }

  function failAll(error: unknown): void {
    for (const sequence of waiting) {
      sequence.fail(error);
      end(sequence);
    }
    waiting = [];
    for (const sequence of running) if (sequence.outcome === null) sequence.fail(error);
    wake();
  }

  return {
    get running() {
      return running;
    },
    get waiting() {
      return waiting;
    },
    get prefillTokensPerSecond() {
      return meter.prefillTokensPerSecond;
    },
    get meanSequenceMs() {
      return meanSequenceMs;
    },
    get totals() {
      return {
        preemptions,
        recomputedTokens,
        steps: meter.steps,
        phaseMs: meter.phaseMs,
        speculation: speculation?.totals ?? NO_SPECULATION,
      };
    },
    add(sequence) {
      waiting.push(sequence);
      wake();
    },
    cancel(sequence, reason) {
      const wasOver = sequence.outcome !== null;
      sequence.abort(reason);
      if (wasOver) return;
      if (waiting.includes(sequence)) {
        waiting = waiting.filter((other) => other !== sequence);
        end(sequence);
      }
      wake();
    },
    failAll,
    wake,
    idle: () =>
      new Promise((resolve) => {
        whenIdle.push(resolve);
        wake();
      }),
  };
}
