import type { CompletionEvent, LateCounts, TokenReport } from '../../src/completer.ts';
import { ServeError } from '../../src/errors.ts';
import type { Clock } from '../../src/lib/clock.ts';
import type { JsonObject } from '../../src/openai/parse.ts';
import { createAnswerBounds, frameCharacters } from './answer-bounds.ts';
import type { Counts, Dialect, Frame, UpstreamCall, UpstreamKind } from './call.ts';
import { lost } from './fault.ts';
import type { UpstreamLink } from './link.ts';
import type { Reports } from './reports.ts';
import { createStopFilter } from './stop-filter.ts';

export interface ChoiceParts {
  readonly link: UpstreamLink;
  readonly clock: Clock;
  readonly dialect: Dialect;
  readonly reports: Reports;
  /** Times that a request is sent while the server cannot be reached. */
  readonly maxAttempts: number;
}

/** Servers whose streams show stop strings: SGLang the beginning of one, TGI all of it. */
const SHOWS_STOPS: ReadonlySet<UpstreamKind> = new Set(['sglang', 'tgi']);
const FIRST_BACK_OFF_MS = 250;
/** A failure that took longer is no passing one, and a client waits. */
const RETRIED_WITHIN_MS = 30_000;

/**
 * Asks for one choice. Until the first frame a server that cannot be reached is asked again; after it
 * nothing is, for what came has been passed on.
 * @throws ServeError upstream_unavailable when the answer breaks off; what the server refused it with
 */
export async function* askChoice(
  parts: ChoiceParts,
  call: UpstreamCall,
  index: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<CompletionEvent, void, undefined> {
  const { clock, dialect } = parts;
  const { kind, sampling } = call;
  const startedMs = clock.now();
  const { frames, first } = await open(parts, call, signal);
  try {
    const read = dialect.reader(call);
    const check = createAnswerBounds(call);
    const stops = SHOWS_STOPS.has(kind) ? sampling.stop : [];
    const filter = createStopFilter(stops);
    // One token was asked for where none can be.
    const isDropped = sampling.maxTokens === 0 && kind !== 'gemlet';
    let counts: Counts = {};
    let end: Frame['end'];
    let tokenCount = 0;
    let hasLogprobs = false;
    let firstMs = startedMs;
    let start: Extract<CompletionEvent, { type: 'start' }> | null = null;
    for (let next: JsonObject | undefined = first; next !== undefined;) {
      const frame = read(next);
      check(frame);
      counts = merge(counts, frame.counts ?? {});
      if (start === null) {
        firstMs = clock.now();
        start = startEvent(parts, call, frame, counts);
        yield start;
      }
      tokenCount += frame.tokens.length;
      hasLogprobs ||= frame.tokens.some(({ logprob }) => logprob !== null);
      // Some servers take the wish and say nothing of it.
      if (sampling.logprobs !== null && frame.text !== '' && !hasLogprobs)
        throw tellsNoLogprobs(kind);
      const text = filter.push(frame.text);
      if (!isDropped && (text !== '' || frame.tokens.length > 0)) {
        yield { type: 'delta', index, text, tokens: frame.tokens };
      }
      end ??= frame.end;
      const result: IteratorResult<JsonObject, void> = await frames.next();
      next = result.done === true ? undefined : result.value;
    }
    if (end === undefined || start === null) throw lost('broke off its answer');
    const said = stopReason(end.stop, sampling);
    const rest = filter.flush(typeof said === 'string' ? said : null);
    if (!isDropped && rest !== '') yield { type: 'delta', index, text: rest, tokens: [] };
    yield {
      type: 'finish',
      index,
      reason: isDropped ? 'length' : filter.stopped === null ? end.reason : 'stop',
      stopReason: isDropped ? null : (filter.stopped ?? said),
      completionTokens: isDropped ? 0 : (counts.completionTokens ?? tokenCount),
      timings: { queueMs: 0, prefillMs: firstMs - startedMs, decodeMs: clock.now() - firstMs },
      ...(index === 0 ? { late: lateCounts(start, counts) } : {}),
    };
  } finally {
    await frames.return(undefined);
  }
}

function tellsNoLogprobs(kind: UpstreamKind): ServeError {
  return new ServeError(
    'unsupported_parameter',
    `The engine behind this server (${kind}) does not tell log probabilities: leave logprobs out.`,
    { param: 'logprobs' },
  );
}

interface Opened {
  readonly frames: AsyncGenerator<JsonObject, void, undefined>;
  readonly first: JsonObject;
}

async function open(
  { link, clock, dialect, maxAttempts }: ChoiceParts,
  call: UpstreamCall,
  signal: AbortSignal | undefined,
): Promise<Opened> {
  const body = dialect.body(call);
  const startedMs = clock.now();
  for (let attempt = 1; ; attempt++) {
    try {
      const frames = link.frames(dialect.path, body, signal, {
        headers: call.headers,
        maxCharacters: frameCharacters(call),
      });
      const first = await frames.next();
      if (first.done === true) throw lost('ended its answer before it began');
      return { frames, first: first.value };
    } catch (error) {
      const isPassing = ServeError.is(error) && error.code === 'upstream_unavailable';
      const isLate = clock.now() - startedMs > RETRIED_WITHIN_MS;
      if (!isPassing || isLate || attempt >= maxAttempts) throw error;
      await clock.sleep(FIRST_BACK_OFF_MS * 2 ** (attempt - 1), signal);
    }
  }
}

function startEvent(
  { reports }: ChoiceParts,
  { prompt, reportsPrompt, sampling }: UpstreamCall,
  frame: Frame,
  counts: Counts,
): Extract<CompletionEvent, { type: 'start' }> {
  let reported: readonly TokenReport[] | null = frame.prompt ?? null;
  if (reportsPrompt && reported === null) {
    if (prompt.type !== 'ids' || sampling.promptLogprobs !== null) {
      throw lost('did not report on the prompt; it may be an old version');
    }
    reported = prompt.ids.map((id) =>
      reports.report({ id, text: null, bytes: null, logprob: null }, [], null),
    );
  }
  return {
    type: 'start',
    promptTokens: prompt.type === 'ids' ? prompt.ids.length : (counts.promptTokens ?? 0),
    cachedTokens: counts.cachedTokens ?? 0,
    imageTokens: counts.imageTokens ?? 0,
    store: null,
    prompt: reported,
  };
}

/** Later frames know more; what they leave out stays. */
function merge(before: Counts, now: Counts): Counts {
  return {
    promptTokens: now.promptTokens ?? before.promptTokens ?? null,
    cachedTokens: now.cachedTokens ?? before.cachedTokens ?? null,
    imageTokens: now.imageTokens ?? before.imageTokens ?? null,
    completionTokens: now.completionTokens ?? before.completionTokens ?? null,
  };
}

function lateCounts(
  start: Extract<CompletionEvent, { type: 'start' }>,
  counts: Counts,
): LateCounts {
  return {
    promptTokens: more(counts.promptTokens, start.promptTokens),
    cachedTokens: more(counts.cachedTokens, start.cachedTokens),
    imageTokens: more(counts.imageTokens, start.imageTokens),
  };
}

function more(now: number | null | undefined, then: number): number {
  return Math.max(0, (now ?? 0) - then);
}

/** Servers also name the model's own end of turn, which is no wish of the client's. */
function stopReason(
  said: unknown,
  { stop, stopIds }: UpstreamCall['sampling'],
): string | number | null {
  if (typeof said === 'string') return stop.includes(said) ? said : null;
  return typeof said === 'number' && stopIds.includes(said) ? said : null;
}
