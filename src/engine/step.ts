import { ServeError } from '../errors.ts';
import type { ForwardStep, StepLogits } from './backend.ts';
import type { TokenLogprobs } from './engine.ts';
import { createLogprobReader } from './logprobs.ts';
import { createSampler } from './sampler.ts';
import type { ChunkPlan, DraftPlan, Plan } from './scheduler.ts';
import type { Sequence } from './sequence.ts';

/** Alternatives a request can ask for per token. */
const MAX_TOP_LOGPROBS = 20;

/** What a plan means to a backend. */
export function toForwardStep(plan: Plan<Sequence>): ForwardStep {
  const { chunk, draft } = plan;
  if (draft !== null) return toDraftStep(draft);
  return {
    decode: plan.decode.map((sequence) => ({
      row: sequence.row ?? 0,
      start: sequence.computed,
      token: sequence.lastToken,
    })),
    chunk:
      chunk === null
        ? null
        : {
            row: chunk.sequence.row ?? 0,
            start: chunk.start,
            // A completion that is computed again after it lost its row is only in the content.
            tokens: (chunk.imageIndex === null
              ? chunk.sequence.words
              : chunk.sequence.prompt.tokens
            ).slice(chunk.start, chunk.end),
            image:
              chunk.imageIndex === null
                ? null
                : (chunk.sequence.images[chunk.imageIndex]?.embedding ?? null),
            logits: chunk.logits,
          },
  };
}

/** The newest token and those guessed to follow it, as one chunk with logits after each. */
function toDraftStep({ sequence, tokens }: DraftPlan<Sequence>): ForwardStep {
  const row = sequence.row ?? 0;
  const ids = Int32Array.of(sequence.lastToken, ...tokens);
  const chunk = { row, start: sequence.computed, tokens: ids, image: null, logits: 'all' as const };
  return { decode: [], chunk };
}

export interface UpdateOptions {
  /** Width of the logits. */
  readonly vocabSize: number;
  /** Ids never chosen. */
  readonly suppressed: readonly number[];
}

/**
 * Moves the sequences of a plan on by the logits their step computed. After a draft, `computed` says
 * how many of the row's tokens hold.
 */
export type Update = (plan: Plan<Sequence>, logits: StepLogits, nowMs: number) => void;

/** Creates the update; it owns the sampling buffers, so there is one per engine. */
export function createUpdate(options: UpdateOptions): Update {
  const { vocabSize, suppressed } = options;
  const sampler = createSampler({ vocabSize, suppressed });
  const logprobReader = createLogprobReader(MAX_TOP_LOGPROBS);

  function updatePrefill(chunk: ChunkPlan<Sequence>, logits: Float32Array, nowMs: number): void {
    const { sequence, end } = chunk;
    const positions = chunk.logits === 'none' ? 0 : logits.length / vocabSize;
    const { promptLogprobs } = sequence.params;
    if (promptLogprobs !== null) readPrompt(sequence, end - positions, logits, promptLogprobs);
    if (end < sequence.prefillTokens || sequence.completionTokens > 0) return;
    // Chosen before it is said how the prompt came about: logits may prove that wrong.
    const next = sequence.wantsTokens ? choose(sequence, rowOf(logits, positions - 1)) : null;
    sequence.endPrefill(nowMs);
    if (next !== null) sequence.append(next.id, next.logprobs, nowMs);
  }

  /** Reads what logits at prompt positions from `first` on say of the token after each. */
  function readPrompt(
    sequence: Sequence,
    first: number,
    logits: Float32Array,
    topCount: number,
  ): void {
    const last = first + logits.length / vocabSize;
    for (let position = first + 1; position <= last; position++) {
      if (position >= sequence.promptTokens || sequence.isSoftToken(position)) continue;
      const id = sequence.prompt.tokens[position] ?? 0;
      const row = rowOf(logits, position - first - 1);
      sequence.setPromptLogprobs(position, logprobReader.read(row, id, topCount));
    }
  }

  function choose(
    sequence: Sequence,
    logits: Float32Array,
  ): { readonly id: number; readonly logprobs: TokenLogprobs | null } {
    const { params, history, completionTokens } = sequence;
    const id = sampler.sample(logits, params, history, completionTokens);
    const logprobs =
      params.logprobs === null ? null : logprobReader.read(logits, id, params.logprobs);
    return { id, logprobs };
  }

  function sampleNext(sequence: Sequence, logits: Float32Array, nowMs: number): void {
    const { id, logprobs } = choose(sequence, logits);
    sequence.append(id, logprobs, nowMs);
  }

  /** A view [vocabSize] of row `index`. */
  function rowOf(logits: Float32Array, index: number): Float32Array {
    return logits.subarray(index * vocabSize, (index + 1) * vocabSize);
  }

  /** Each token is chosen as ever; the first that is not the guessed one is the last that counts. */
  function updateDraft(draft: DraftPlan<Sequence>, logits: Float32Array, nowMs: number): void {
    const { sequence, tokens } = draft;
    for (let at = 0; at <= tokens.length; at++) {
      sequence.computed++;
      guard(sequence, () => sampleNext(sequence, rowOf(logits, at), nowMs));
      const isOver = sequence.outcome !== null || sequence.isDistrusted;
      if (isOver || sequence.lastToken !== tokens[at]) return;
    }
  }

  return (plan, logits, nowMs) => {
    if (plan.draft !== null) updateDraft(plan.draft, logits.chunk, nowMs);
    for (const [index, sequence] of plan.decode.entries()) {
      sequence.computed++;
      guard(sequence, () => sampleNext(sequence, rowOf(logits.decode, index), nowMs));
    }
    const { chunk } = plan;
    if (chunk === null) return;
    chunk.sequence.computed = chunk.end;
    if (chunk.imageIndex !== null) chunk.sequence.images[chunk.imageIndex]?.release();
    guard(chunk.sequence, () => updatePrefill(chunk, logits.chunk, nowMs));
  };
}

/** Keeps what already has a code; of everything else the words are for the log, as its cause. */
export function asServeError(error: unknown, what: string): ServeError {
  if (ServeError.is(error)) return error;
  return new ServeError(
    'internal',
    `${what} failed; the server's log has the details under the request id.`,
    { cause: error },
  );
}

/** An error of one sequence (broken logits) concerns that one only; an ended one is left alone. */
function guard(sequence: Sequence, update: () => void): void {
  if (sequence.outcome !== null) return;
  try {
    update();
  } catch (error) {
    sequence.distrust(asServeError(error, 'Choosing a token'));
  }
}
