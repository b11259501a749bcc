import { ServeError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import { checkPrompt, queueFull } from './admission.ts';
import type { Backend, StepLogits } from './backend.ts';
import type {
  Engine,
  EngineModel,
  EngineState,
  GenerateEvent,
  PreparedImage,
  PreparedPrompt,
  SamplingParams,
  TokenBytes,
} from './engine.ts';
import { createImageEncoder } from './image-encoder.ts';
import { schedule } from './scheduler.ts';
import type { Plan } from './scheduler.ts';
import { Sequence } from './sequence.ts';
import type { Outcome } from './sequence.ts';
import { asServeError, createUpdate, toForwardStep } from './step.ts';
import { createStepRate } from './step-rate.ts';

export interface LocalEngineOptions {
  readonly backend: Backend;
  readonly tokens: TokenBytes;
  readonly model: EngineModel;
  /** Images to [count, 3, size, size], RGB, (x/255 - mean) / std */
  readonly toPixels: (images: readonly PreparedImage[]) => Float32Array;
  readonly clock: Clock;
  /** Requests that may wait for a row; one more is refused with queue_full. */
  readonly maxWaiting: number;
  /** Milliseconds one step may hold up running decodes with prompt work; default 250. */
  readonly prefillBudgetMs?: number;
  /** Observes the engine; must not throw. */
  readonly onEvent?: (event: EngineEvent) => void;
}

export type EngineEvent =
  | {
      readonly type: 'step';
      /** Rows that decoded one token. */
      readonly decodeCount: number;
      /** Prompt tokens computed. */
      readonly chunkTokens: number;
      readonly durationMs: number;
    }
  | { readonly type: 'step-failed'; readonly error: unknown }
  | {
      readonly type: 'sequence-end';
      readonly outcome: Outcome;
      readonly promptTokens: number;
      readonly completionTokens: number;
    };

const DEFAULT_PREFILL_BUDGET_MS = 250;
/** Milliseconds a sequence is taken to last before one has ended. */
const FIRST_SEQUENCE_GUESS_MS = 2000;
/** A text part of 3 tokens must fit whole, or a chunk of one token could not be avoided. */
const SMALLEST_CHUNK_TOKENS = 3;

/**
 * Creates the engine that computes in this process: a queue, a step loop and a sampler over a
 * backend. The loop runs only while there is something to compute.
 * @throws RangeError when model and backend do not fit together
 */
export function createLocalEngine(options: LocalEngineOptions): Engine {
  const { backend, tokens, model, clock, maxWaiting } = options;
  checkFit(options);
  const { eosIds, vocabSize } = model.config.text;
  const tokensPerImage = model.config.vision?.tokensPerImage ?? 0;
  const budgetMs = options.prefillBudgetMs ?? DEFAULT_PREFILL_BUDGET_MS;
  const update = createUpdate({ vocabSize, tokensPerImage, suppressed: tokens.suppressed });
  const rate = createStepRate();
  const encoder = createImageEncoder({ backend, toPixels: options.toPixels, onSettled: wake });
  const freeRows = Array.from({ length: backend.rowCount }, (_, row) => row);
  let running: Sequence[] = [];
  let waiting: Sequence[] = [];
  let state: EngineState = 'ready';
  let looping: Promise<void> | null = null;
  /** Something changed since the loop last looked. */
  let hasNews = false;
  let meanSequenceMs = FIRST_SEQUENCE_GUESS_MS;
  let whenIdle: (() => void)[] = [];
  let closing: Promise<void> | null = null;

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
        await steps();
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

  /** Steps until there is nothing to compute. */
  async function steps(): Promise<void> {
    for (;;) {
      reap();
      const plan = schedule({
        running,
        waiting,
        freeRows,
        limits: {
          chunkTokens: backend.chunkTokens,
          tokensPerImage,
          budgetTokens: rate.tokensIn(budgetMs),
        },
      });
      admit(plan);
      if (plan.decode.length === 0 && plan.chunk === null) return;
      await step(plan);
    }
  }

  /** Frees the rows of sequences that ended since the last step, or whose image failed. */
  function reap(): void {
    for (const sequence of running) {
      if (sequence.outcome !== null) continue;
      for (const { failure } of sequence.images) {
        if (failure !== null) sequence.fail(asServeError(failure.error, 'Encoding an image'));
      }
    }
    const ended = running.filter(({ outcome }) => outcome !== null);
    if (ended.length === 0) return;
    running = running.filter(({ outcome }) => outcome === null);
    for (const sequence of ended) {
      const { row } = sequence;
      if (row !== null) {
        resetRow(row);
        freeRows.push(row);
      }
      end(sequence);
    }
    freeRows.sort((a, b) => a - b);
  }

  function resetRow(row: number): void {
    try {
      backend.truncate(row, 0);
    } catch (error) {
      // A row that stays dirty fails its next user with a mismatching start: loud, not wrong.
      options.onEvent?.({ type: 'step-failed', error });
    }
  }

  function end(sequence: Sequence): void {
    for (const image of sequence.images) image.release();
    if (sequence.outcome === 'stop' || sequence.outcome === 'length') {
      meanSequenceMs += 0.2 * (Math.max(0, clock.now() - sequence.admittedMs) - meanSequenceMs);
    }
    options.onEvent?.({
      type: 'sequence-end',
      outcome: sequence.outcome ?? 'abort',
      promptTokens: sequence.promptTokens,
      completionTokens: sequence.completionTokens,
    });
  }

  function admit(plan: Plan<Sequence>): void {
    const nowMs = clock.now();
    for (const { sequence, row } of plan.admissions) {
      sequence.row = row;
      sequence.admittedMs = nowMs;
      sequence.images = sequence.prompt.images.map(({ image }) => encoder.acquire(image));
      running.push(sequence);
    }
    freeRows.splice(0, plan.admissions.length);
    waiting.splice(0, plan.admissions.length);
  }

  async function step(plan: Plan<Sequence>): Promise<void> {
    const startedMs = clock.now();
    let logits: StepLogits;
    try {
      logits = await backend.forward(toForwardStep(plan));
    } catch (error) {
      options.onEvent?.({ type: 'step-failed', error });
      const failure = asServeError(error, 'A step of the model');
      for (const sequence of plan.decode) sequence.fail(failure);
      plan.chunk?.sequence.fail(failure);
      return;
    }
    const nowMs = clock.now();
    const durationMs = Math.max(0, nowMs - startedMs);
    const chunkTokens = plan.chunk === null ? 0 : plan.chunk.end - plan.chunk.start;
    if (plan.chunk?.logits !== 'all') rate.observe(durationMs, plan.decode.length, chunkTokens);
    options.onEvent?.({ type: 'step', decodeCount: plan.decode.length, chunkTokens, durationMs });

    update(plan, logits, nowMs);
  }

  function enqueue(prompt: PreparedPrompt, params: SamplingParams): Sequence {
    if (state !== 'ready') throw notServing(state);
    checkPrompt(model, prompt, params);
    if (waiting.length >= maxWaiting + freeRows.length) {
      throw queueFull(waiting.length, backend.rowCount, meanSequenceMs);
    }
    const sequence = new Sequence({
      prompt,
      params,
      tokens,
      eosIds,
      arrivedMs: clock.now(),
      onRoom: wake,
    });
    waiting.push(sequence);
    wake();
    return sequence;
  }

  /** Lets go of a sequence; its row is free before the next step. Ended ones stay as they are. */
  function cancel(sequence: Sequence, reason: unknown): void {
    const wasOver = sequence.outcome !== null;
    sequence.abort(reason);
    if (wasOver) return;
    if (sequence.row === null) {
      waiting = waiting.filter((other) => other !== sequence);
      end(sequence);
    }
    wake();
  }

  async function* generate(
    prompt: PreparedPrompt,
    params: SamplingParams,
    signal?: AbortSignal,
  ): AsyncGenerator<GenerateEvent, void, undefined> {
    signal?.throwIfAborted();
    const sequence = enqueue(prompt, params);
    const onAbort = (): void => cancel(sequence, signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      for (;;) {
        const event = await sequence.events.next();
        if (event === null) return;
        yield event;
      }
    } finally {
      signal?.removeEventListener('abort', onAbort);
      cancel(sequence, new DOMException('the reader left', 'AbortError'));
    }
  }

  function idle(): Promise<void> {
    return new Promise((resolve) => {
      whenIdle.push(resolve);
      wake();
    });
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

  async function close(): Promise<void> {
    state = 'closed';
    failAll(notServing('closed'));
    await idle();
    await encoder.settled();
    await backend.close();
  }

  return {
    model,
    get state() {
      return state;
    },
    generate,
    stats() {
      let used = 0;
      for (const { computed } of running) used += computed;
      return {
        running: running.length,
        waiting: waiting.length,
        rowCount: backend.rowCount,
        kvUsage: used / (backend.rowCount * backend.rowTokens),
      };
    },
    async drain(deadlineMs) {
      if (state === 'closed') return;
      state = 'draining';
      const timer = new AbortController();
      const deadline = clock.sleep(deadlineMs, timer.signal).then(
        () => failAll(notServing('draining')),
        () => undefined,
      );
      await Promise.race([idle(), deadline]);
      timer.abort();
      await idle();
    },
    close() {
      closing ??= close();
      return closing;
    },
  };
}

function checkFit({ backend, model, maxWaiting }: LocalEngineOptions): void {
  if (model.contextTokens > backend.rowTokens) {
    throw new RangeError(
      `a context of ${model.contextTokens} tokens needs rows as long, not ${backend.rowTokens}`,
    );
  }
  if (backend.chunkTokens < SMALLEST_CHUNK_TOKENS) {
    throw new RangeError(`chunkTokens must be at least ${SMALLEST_CHUNK_TOKENS}`);
  }
  if (!Number.isInteger(maxWaiting) || maxWaiting < 0) {
    throw new RangeError(`maxWaiting must be a whole number from 0 on, not ${maxWaiting}`);
  }
}

function notServing(state: EngineState): ServeError {
  return new ServeError(
    'draining',
    `The engine is ${state} and takes no more work. Retry elsewhere.`,
  );
}
