/** What the scheduler sees of a sequence that has a row. */
export interface Schedulable {
  /** Tokens to compute before the next is decoded: the prompt, or all but the last when it resumes. */
  readonly prefillTokens: number;
  /** Tokens whose keys and values are in the row. */
  readonly computed: number;
  /** Index of the first soft token of each image run, ascending. */
  readonly imagePositions: readonly number[];
  readonly row: number | null;
  /** The reader is behind: make no more tokens for now. */
  readonly isPaused: boolean;
  readonly wantsPromptLogprobs: boolean;
  /** The end of the prefill gives the next token: not when only the prompt is computed, nor to resume. */
  readonly wantsLogits: boolean;
  isImageReady(imageIndex: number): boolean;
}

export interface ScheduleState<S extends Schedulable> {
  /** Longest running first. */
  readonly running: readonly S[];
  /** Counts the chunks planned so far. */
  readonly chunkNumber: number;
  readonly limits: ScheduleLimits;
}

export interface ScheduleLimits {
  /** Longest text chunk, in tokens; >= 3. */
  readonly chunkTokens: number;
  /** Length of an image run, in tokens. */
  readonly tokensPerImage: number;
  /** Prompt tokens from `start` on that fit into the time running decodes may be held up. */
  readonly budgetTokens: (start: number) => number;
}

/** One step: what to compute. */
export interface Plan<S> {
  /** Ascending by row. */
  readonly decode: readonly S[];
  readonly chunk: ChunkPlan<S> | null;
  /** In place of everything else: the next tokens of one sequence are guessed and checked. */
  readonly draft: DraftPlan<S> | null;
}

export interface DraftPlan<S> {
  readonly sequence: S;
  /** What is guessed to follow the newest token; at least one. */
  readonly tokens: Int32Array;
}

export interface ChunkPlan<S> {
  readonly sequence: S;
  /** Tokens [start, end) of the sequence. */
  readonly start: number;
  readonly end: number;
  /** The image whose run this is; null for text. */
  readonly imageIndex: number | null;
  readonly logits: 'none' | 'last' | 'all';
}

/** Positions per chunk that get logits: each takes vocabSize floats. */
const LOGPROB_CHUNK_TOKENS = 32;
/** However slow the device, a prompt advances by this many tokens beside decodes. */
const SHORTEST_BUDGET_TOKENS = 16;

/**
 * Plans one step: every running row past its prefill decodes one token, and one prompt gets one
 * chunk. Chunks go in turns to the prompt that runs longest and to the one nearest to its first
 * token, so that neither a long prompt nor a short one waits for the other to end. Pure: nothing is
 * changed.
 */
export function schedule<S extends Schedulable>(state: ScheduleState<S>): Plan<S> {
  const decode = state.running.filter(
    (sequence) => sequence.computed >= sequence.prefillTokens && !sequence.isPaused,
  );
  decode.sort((a, b) => (a.row ?? 0) - (b.row ?? 0));
  return { decode, chunk: planChunk(state, decode.length > 0), draft: null };
}

function planChunk<S extends Schedulable>(
  { running, chunkNumber, limits }: ScheduleState<S>,
  besideDecodes: boolean,
): ChunkPlan<S> | null {
  const prefilling = running.filter(({ computed, prefillTokens }) => computed < prefillTokens);
  if (chunkNumber % 2 === 1) prefilling.sort((a, b) => leftOf(a) - leftOf(b));
  for (const sequence of prefilling) {
    const chunk = nextChunk(sequence, limits, besideDecodes);
    if (chunk !== null) return chunk;
  }
  return null;
}

function leftOf(sequence: Schedulable): number {
  return sequence.prefillTokens - sequence.computed;
}

/** The next chunk of one prompt, or null while it waits for an image. */
export function nextChunk<S extends Schedulable>(
  sequence: S,
  limits: ScheduleLimits,
  besideDecodes: boolean,
): ChunkPlan<S> | null {
  const start = sequence.computed;
  const imageIndex = sequence.imagePositions.findIndex((position) => position >= start);
  const partEnd =
    imageIndex < 0 ? sequence.prefillTokens : (sequence.imagePositions[imageIndex] ?? 0);
  if (partEnd === start) {
    if (!sequence.isImageReady(imageIndex)) return null;
    const end = start + limits.tokensPerImage;
    // Soft tokens are never predicted, so only the run's last position can be of use.
    const isWanted = sequence.wantsPromptLogprobs || isLastOf(sequence, end);
    return { sequence, start, end, imageIndex, logits: isWanted ? 'last' : 'none' };
  }
  let limit = limits.chunkTokens;
  if (besideDecodes) {
    limit = Math.min(limit, Math.max(SHORTEST_BUDGET_TOKENS, limits.budgetTokens(start)));
  }
  if (sequence.wantsPromptLogprobs) limit = Math.min(limit, LOGPROB_CHUNK_TOKENS);
  const end = start + chunkLength(partEnd - start, limit);
  if (sequence.wantsPromptLogprobs)
    return { sequence, start, end, imageIndex: null, logits: 'all' };
  return {
    sequence,
    start,
    end,
    imageIndex: null,
    logits: isLastOf(sequence, end) ? 'last' : 'none',
  };
}

/**
 * Attention takes the queries of a chunk in blocks of some multiple of this many tokens, and a block
 * of one is computed by another kernel, which rounds differently.
 */
const QUERY_BLOCK_TOKENS = 16;

/**
 * Tokens to take of a text part with `left` tokens: at most `limit`, and such that neither this
 * chunk nor a last one after it ends in a block of one query. Only a part of one token does.
 * @param limit >= 3
 */
export function chunkLength(left: number, limit: number): number {
  let taken = Math.min(left, limit);
  while (
    taken > 1 &&
    (endsInSingle(taken) || (left - taken <= limit && endsInSingle(left - taken)))
  ) {
    taken--;
  }
  return taken;
}

function endsInSingle(count: number): boolean {
  return count % QUERY_BLOCK_TOKENS === 1;
}

function isLastOf(sequence: Schedulable, end: number): boolean {
  return end === sequence.prefillTokens && sequence.wantsLogits;
}
