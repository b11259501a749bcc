import type { ServeError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { Backend } from './backend.ts';
import type { EngineEvent } from './engine-event.ts';
import type { ImageEncoder } from './image-encoder.ts';
import type { KvMemory } from './kv/kv-memory.ts';
import type { Placement } from './kv/rows.ts';
import type { PhaseTimes } from './phase-times.ts';
import { createRowGiver } from './queue/give-rows.ts';
import { DECODE_UNITS, type ServiceMeter } from './queue/service-meter.ts';
import { nextPauseMs, notePauses, readerStalled, stalledReaders } from './queue/slow-readers.ts';
import { createWaitingLine } from './queue/waiting-line.ts';
import { createStepRunner } from './run-step.ts';
import { type Plan, schedule } from './scheduler.ts';
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
  /** What tenants were given; sequences enter and leave it outside of the loop. */
  readonly service: ServiceMeter;
  /** Whether a sequence that loses its row keeps what it computed. */
  readonly keepsPages: boolean;
  /** Milliseconds after which a reader that takes nothing is given up; may be Infinity. */
  readonly stallMs: number;
  /** Sequences that may wait for readers that do not read. */
  readonly maxParked: number;
  readonly onEvent: (event: EngineEvent) => void;
  /** Called with sequences that go on without what was reused for them. */
  readonly onDistrust: (sequence: Sequence) => void;
  /** Called with sequences that ended, before they lose their row; null: nothing to do. */
  readonly beforeRelease: ((sequence: Sequence) => Promise<void>) | null;
}

/** The sequences of an engine and the steps that compute them; runs only while there is work. */
export interface StepLoop {
  readonly running: readonly Sequence[];
  readonly waiting: readonly Sequence[];
  /** Waiting sequences that could use a row now: those of readers that stopped reading could not. */
  readonly readyCount: number;
  readonly totals: LoopTotals;
  /** How fast prompts are computed; null before any was. */
  readonly prefillTokensPerSecond: number | null;
  /** Milliseconds a sequence takes from row to end, lately. */
  readonly meanSequenceMs: number;
  add(sequence: Sequence): void;
  /**
   * Frees a place in the line for a sequence of `tenant`: the newest of the tenant with the most is refused.
   * @returns false where nobody has at least two places more than this tenant
   */
  displace(tenant: string, refusal: () => ServeError): boolean;
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
  /** Of these, rows that went from a tenant with more than its share to another. */
  readonly fairPreemptions: number;
  /** Answers given up because nobody read them. */
  readonly stalledReaders: number;
  /** Waiting sequences refused because other tenants had fewer places. */
  readonly displaced: number;
  /** Sequences begun anew because what was reused for them gave no usable logits. */
  readonly distrusted: number;
  readonly recomputedTokens: number;
  readonly steps: number;
  readonly phaseMs: PhaseTimes;
  readonly speculation: SpeculationTotals;
}

/** Milliseconds a sequence is taken to last before one has ended. */
const FIRST_SEQUENCE_GUESS_MS = 2000;

const NO_SPECULATION: SpeculationTotals = { drafts: 0, draftTokens: 0, acceptedTokens: 0 };

export function createStepLoop(options: StepLoopOptions): StepLoop {
  const { backend, kv, encoder, speculation, service, clock, stallMs, onEvent } = options;
  const line = createWaitingLine<Sequence>();
  const giveRows = createRowGiver({ ...options, line, running: () => running, seat, unseat });
  const meter = createStepMeter();
  const runStep = createStepRunner({ ...options, meter });
  let running: Sequence[] = [];
  let looping: Promise<void> | null = null;
  /** Something changed since the loop last looked. */
  let hasNews = false;
  let whenIdle: (() => void)[] = [];
  let meanSequenceMs = FIRST_SEQUENCE_GUESS_MS;
  const counts = {
    preemptions: 0,
    fairPreemptions: 0,
    stalledReaders: 0,
    displaced: 0,
    distrusted: 0,
  };
  let recomputedTokens = 0;
  /** Ends the wait for the next moment at which a pause has consequences. */
  let alarm: AbortController | null = null;

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
    setAlarm();
    if (running.length > 0 || line.all.length > 0) return;
    const resolvers = whenIdle;
    whenIdle = [];
    for (const resolve of resolvers) resolve();
  }

  /** Nothing happens while everybody waits for readers: somebody has to look when a pause gets long. */
  function setAlarm(): void {
    alarm?.abort();
    alarm = null;
    const nowMs = clock.now();
    const dueMs = nextPauseMs(running, line.all, nowMs, stallMs);
    if (dueMs === null) return;
    alarm = new AbortController();
    clock.sleep(Math.max(0, dueMs - nowMs), alarm.signal).then(wake, () => undefined);
  }

  async function stepWhilePossible(): Promise<void> {
    for (;;) {
      await reap();
      const startedMs = clock.now();
      await giveRows();
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
      charge(planned);
    }
  }

  /** Prompts are charged when they get their row. */
  function charge({ decode }: Plan<Sequence>): void {
    for (const { tenant } of decode) service.charge(tenant, DECODE_UNITS);
  }

  /** Lets go of sequences that ended since the last step, or whose image failed. */
  async function reap(): Promise<void> {
    giveUpStalled(clock.now());
    for (const sequence of running) {
      if (sequence.outcome !== null) continue;
      for (const image of sequence.images) {
        const failure = image?.failure ?? null;
        if (failure !== null) sequence.fail(asServeError(failure.error, 'Encoding an image'));
      }
    }
    for (const sequence of running) {
      if (sequence.isDistrusted && sequence.outcome === null) startOver(sequence);
    }
    const ended = running.filter(({ outcome }) => outcome !== null);
    if (ended.length === 0) return;
    running = running.filter(({ outcome }) => outcome === null);
    for (const sequence of ended) {
      await options.beforeRelease?.(sequence);
      kv.release(sequence, !sequence.isBroken);
      if (sequence.isDistrusted) forgetContent(sequence);
      end(sequence);
    }
  }

  /** A bad page, from a store or of a device that failed for a moment, must not be met by every turn to come. */
  function startOver(sequence: Sequence): void {
    counts.distrusted++;
    running = running.filter((other) => other !== sequence);
    kv.release(sequence, false);
    sequence.releaseImages();
    forgetContent(sequence);
    options.onDistrust(sequence);
    sequence.startOver();
    line.putBack(sequence);
  }

  function forgetContent({ scope, words, computed }: Sequence): void {
    kv.forget(scope, words.subarray(0, computed), []);
  }

  function giveUpStalled(nowMs: number): void {
    const waiting = line.all;
    notePauses(running, nowMs);
    notePauses(waiting, nowMs);
    for (const sequence of stalledReaders(running, waiting, nowMs, options)) {
      counts.stalledReaders++;
      drop(sequence, readerStalled(nowMs - (sequence.pausedSinceMs ?? nowMs)));
    }
  }

  /** Ends a sequence with an error; one that runs loses its row when the loop looks again. */
  function drop(sequence: Sequence, error: unknown): void {
    if (sequence.outcome === null) sequence.fail(error);
    if (line.remove(sequence)) end(sequence);
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

  async function seat(sequence: Sequence, placement: Placement): Promise<void> {
    running.push(sequence);
    await kv.acquire(sequence, placement);
    begin(sequence);
    service.charge(sequence.tenant, sequence.prefillTokens - sequence.computed);
  }

  function begin(sequence: Sequence): void {
    const nowMs = clock.now();
    sequence.rowSinceMs = nowMs;
    sequence.completionTokensAtRow = sequence.completionTokens;
    sequence.computedAtRow = sequence.computed;
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
      position < sequence.computed ? null : encoder.acquire(image, sequence.scope),
    );
  }

  /** Takes the row of a running sequence, which then waits for its turn again. */
  async function unseat(victim: Sequence, isForFairness: boolean): Promise<void> {
    counts.preemptions++;
    if (isForFairness) counts.fairPreemptions++;
    await kv.save(victim);
    kv.release(victim, true);
    victim.releaseImages();
    running = running.filter((other) => other !== victim);
    onEvent({ type: 'preemption', computedTokens: victim.computed });
    if (victim.outcome !== null) end(victim);
    else if (isForFairness) line.putBack(victim);
    else line.add(victim);
    victim.computed = 0;
  }

  function failAll(error: unknown): void {
    for (const sequence of line.all) drop(sequence, error);
    for (const sequence of running) if (sequence.outcome === null) sequence.fail(error);
    wake();
  }

  return {
    get running() {
      return running;
    },
    get waiting() {
      return line.all;
    },
    get readyCount() {
      return line.readyCount;
    },
    get prefillTokensPerSecond() {
      return meter.prefillTokensPerSecond;
    },
    get meanSequenceMs() {
      return meanSequenceMs;
    },
    get totals() {
      return {
        ...counts,
        recomputedTokens,
        steps: meter.steps,
        phaseMs: meter.phaseMs,
        speculation: speculation?.totals ?? NO_SPECULATION,
      };
    },
    add(sequence) {
      line.add(sequence);
      wake();
    },
    displace(tenant, refusal) {
      const displaced = line.displacedBy(tenant);
      if (displaced === null) return false;
      counts.displaced++;
      drop(displaced, refusal());
      return true;
    },
    cancel(sequence, reason) {
      const wasOver = sequence.outcome !== null;
      sequence.abort(reason);
      if (wasOver) return;
      if (line.remove(sequence)) end(sequence);
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
