import { ServeError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { Backend } from './backend.ts';
import { checkFit } from './check-fit.ts';
import type {
  Engine,
  EngineModel,
  EngineState,
  GenerateEvent,
  PreparedImage,
  PreparedPrompt,
  SamplingParams,
  SessionRef,
  TokenBytes,
} from './engine.ts';
import type { EngineEvent } from './engine-event.ts';
import { engineStats } from './engine-stats.ts';
import { createImageEncoder } from './image-encoder.ts';
import { createKvMemory, PAGE_TOKENS, type KvPlaces } from './kv/kv-memory.ts';
import { createBringIn, rememberSaid } from './kv/bring-in.ts';
import type { KvContent, KvStore, KvStored } from './kv/kv-store.ts';
import { checkPrompt, queueFull, tenantFull } from './queue/admission.ts';
import { createServiceMeter } from './queue/service-meter.ts';
import { createSaidMemory } from './said.ts';
import { Sequence } from './sequence.ts';
import { createSpeculation } from './speculation.ts';
import { createStepLoop } from './step-loop.ts';
import { createUpdate } from './step.ts';

export type { EngineEvent };

export interface LocalEngineOptions {
  readonly backend: Backend;
  readonly tokens: TokenBytes;
  readonly model: EngineModel;
  /** Images to [count, 3, size, size], RGB, (x/255 - mean) / std */
  readonly toPixels: (images: readonly PreparedImage[]) => Float32Array;
  readonly clock: Clock;
  /** Requests that may wait for a row; one more is refused with queue_full. */
  readonly maxWaiting: number;
  /** Sequences of one tenant that may run and wait; default any number that the queue takes. */
  readonly maxPerTenant?: number;
  /** Milliseconds after which an answer is given up whose reader takes nothing; default never. */
  readonly stallMs?: number;
  /** Milliseconds one step may hold up running decodes with prompt work; default 250. */
  readonly prefillBudgetMs?: number;
  /** Bytes of host memory for KV pages; default 0: only rows keep anything. */
  readonly kvBudgetBytes?: number;
  /** Tokens of a KV page; only tests with tiny rows change it. */
  readonly pageTokens?: number;
  /** Bytes of image embeddings to keep for images that come again; default 0. */
  readonly imageCacheBytes?: number;
  /**
   * Milliseconds after which a running sequence makes way for a waiting one; default never, since its
   * stream stalls meanwhile.
   */
  readonly sliceMs?: number;
  /** Where keys and values outlive this process; needs `kvBudgetBytes`. Closed with the engine. */
  readonly kvStore?: KvStore;
  /** A turn of a conversation that has a name is over. Must not throw. */
  readonly onTurn?: (turn: EndedTurn) => void;
  /** Drafts from the prompt for an answer that runs alone; see {@link Speculation}. Default off. */
  readonly speculates?: boolean;
  /** Observes the engine; must not throw. */
  readonly onEvent?: (event: EngineEvent) => void;
}

export interface EndedTurn {
  readonly session: SessionRef;
  /** Everything computed: prompt and answer, but for its last token. Does not change any more. */
  readonly content: KvContent;
  /** Prompt tokens that were not computed. */
  readonly cachedTokens: number;
}

/** What a local engine can do with contents, beside generating. */
export interface LocalEngine extends Engine {
  where(content: KvContent): KvPlaces & KvStored;
  /** Removes a content from every tier but for what others share with it. @throws the store's failure */
  forget(content: KvContent, kept: readonly KvContent[], signal?: AbortSignal): Promise<void>;
}

const DEFAULT_PREFILL_BUDGET_MS = 250;
/** Ids of answers to remember, in all. */
const SAID_TOKENS = 2 ** 20;

/**
 * Creates the engine that computes in this process: a queue, a step loop and a sampler over a
 * backend. The loop runs only while there is something to compute.
 * @throws RangeError when model and backend do not fit together
 */
export function createLocalEngine(options: LocalEngineOptions): LocalEngine {
  const { backend, tokens, model, clock, maxWaiting } = options;
  const { maxPerTenant = Number.POSITIVE_INFINITY } = options;
  checkFit(options);
  const { eosIds, vocabSize } = model.config.text;
  const tokensPerImage = model.config.vision?.tokensPerImage ?? 0;
  const onEvent = options.onEvent ?? ((): void => undefined);
  const budgetBytes = options.kvBudgetBytes ?? 0;
  const said = createSaidMemory({ maxTokens: SAID_TOKENS, tokens, tokensPerImage });
  const wake = (): void => loop.wake();
  const encoder = createImageEncoder({
    backend,
    toPixels: options.toPixels,
    cacheBytes: options.imageCacheBytes ?? 0,
    onSettled: wake,
  });
  const kv = createKvMemory({
    backend,
    tokensPerImage,
    budgetBytes,
    onFailure: (error) => onEvent({ type: 'kv-failed', error }),
    ...(options.pageTokens === undefined ? {} : { pageTokens: options.pageTokens }),
  });
  const { kvStore = null } = options;
  const tier = createBringIn({
    kv,
    said,
    tokensPerImage,
    store: kvStore,
    pageTokens: options.pageTokens ?? PAGE_TOKENS,
    prefillTokensPerSecond: () => loop.prefillTokensPerSecond,
    onTurn: options.onTurn ?? ((): void => undefined),
  });
  const service = createServiceMeter();
  const loop = createStepLoop({
    backend,
    service,
    keepsPages: budgetBytes > 0,
    stallMs: options.stallMs ?? Number.POSITIVE_INFINITY,
    maxParked: maxWaiting,
    kv,
    encoder,
    update: createUpdate({ vocabSize, suppressed: tokens.suppressed }),
    speculation: options.speculates === true ? createSpeculation(backend.chunkTokens) : null,
    clock,
    tokensPerImage,
    prefillBudgetMs: options.prefillBudgetMs ?? DEFAULT_PREFILL_BUDGET_MS,
    sliceMs: options.sliceMs ?? Number.POSITIVE_INFINITY,
    onEvent,
    onDistrust: (sequence) => {
      tier.distrust(sequence).catch((error: unknown) => onEvent({ type: 'kv-failed', error }));
    },
    beforeRelease: (sequence) => tier.keep(sequence),
  });
  /** Prompts that are fetched from the store before they queue. */
  let fetching = 0;
  let state: EngineState = 'ready';
  let closing: Promise<void> | null = null;

  /** The prompt with the ids that were said, as far as they are known here. */
  function resolve(asked: PreparedPrompt, params: SamplingParams): PreparedPrompt {
    // What is reported of prompt tokens must be of those that were sent.
    if (params.promptLogprobs !== null || asked.answer !== undefined) return asked;
    return said.resolve(asked, model.contextTokens - params.maxTokens);
  }

  function requireRoom(asked: PreparedPrompt, params: SamplingParams): void {
    if (state !== 'ready') throw notServing(state);
    checkPrompt(model, asked, params);
    const { tenant = '' } = asked;
    const mine = service.countOf(tenant);
    if (mine >= maxPerTenant) throw tenantFull(mine, loop.meanSequenceMs);
    const free = backend.rowCount - loop.running.length;
    const waiting = loop.readyCount + fetching;
    if (waiting < maxWaiting + free) return;
    const full = (): ServeError => queueFull(waiting, backend.rowCount, loop.meanSequenceMs);
    if (!loop.displace(tenant, full)) throw full();
  }

  function sequenceOf(
    prompt: PreparedPrompt,
    params: SamplingParams,
    arrivedMs = clock.now(),
  ): Sequence {
    return new Sequence({
      prompt,
      params,
      tokens,
      eosIds,
      tokensPerImage,
      arrivedMs,
      onRoom: wake,
    });
  }

  /** The sequence of a prompt, with what the store holds of it in memory. */
  async function fetched(
    asked: PreparedPrompt,
    params: SamplingParams,
    signal: AbortSignal | undefined,
  ): Promise<Sequence> {
    const arrivedMs = clock.now();
    const quietly = async (task: Promise<void>): Promise<void> => {
      try {
        await task;
      } catch (error) {
        signal?.throwIfAborted();
        onEvent({ type: 'kv-failed', error });
      }
    };
    fetching++;
    try {
      if (params.promptLogprobs === null && asked.answer === undefined) {
        await quietly(tier.recall(resolve(asked, params), signal));
      }
      const sequence = sequenceOf(resolve(asked, params), params, arrivedMs);
      await quietly(tier.fetch(sequence, signal));
      signal?.throwIfAborted();
      if (state !== 'ready') throw notServing(state);
      return sequence;
    } finally {
      fetching--;
    }
  }

  async function* generate(
    prompt: PreparedPrompt,
    params: SamplingParams,
    signal?: AbortSignal,
  ): AsyncGenerator<GenerateEvent, void, undefined> {
    signal?.throwIfAborted();
    requireRoom(prompt, params);
    const { tenant = '' } = prompt;
    let sequence: Sequence | null = null;
    const cancel = (reason: unknown): void => {
      if (sequence !== null) loop.cancel(sequence, reason);
    };
    const onAbort = (): void => cancel(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    service.enter(tenant);
    try {
      sequence =
        kvStore === null
          ? sequenceOf(resolve(prompt, params), params)
          : await fetched(prompt, params, signal);
      if (sequence.outcome === null) loop.add(sequence);
      for (;;) {
        const event = await sequence.events.next();
        if (event === null) return;
        if (event.type === 'finish') rememberSaid(said, sequence);
        yield event;
      }
    } finally {
      signal?.removeEventListener('abort', onAbort);
      cancel(new DOMException('the reader left', 'AbortError'));
      service.leave(tenant);
    }
  }

  async function close(): Promise<void> {
    state = 'closed';
    loop.failAll(notServing('closed'));
    await loop.idle();
    await encoder.settled();
    encoder.clear();
    kv.clear();
    await kvStore?.close();
    await backend.close();
  }

  return {
    model,
    get state() {
      return state;
    },
    generate,
    stats: () => engineStats({ backend, kv, encoder, loop, kvStore, budgetBytes }),
    where: ({ scope, words }) => ({
      ...kv.where(scope, words),
      ...(kvStore?.stored(words) ?? { storeTokens: 0, storeBytes: 0 }),
    }),
    async forget(content, kept, signal) {
      const sameScope = kept.filter(({ scope }) => scope === content.scope);
      const staying = new Set(sameScope.flatMap((other) => other.said ?? []));
      said.forget(
        content.scope,
        (content.said ?? []).filter((key) => !staying.has(key)),
      );
      kv.forget(
        content.scope,
        content.words,
        sameScope.map(({ words }) => words),
      );
      await kvStore?.forget(content, sameScope, signal);
    },
    async drain(deadlineMs) {
      if (state === 'closed') return;
      state = 'draining';
      const timer = new AbortController();
      const deadline = clock.sleep(deadlineMs, timer.signal).then(
        () => loop.failAll(notServing('draining')),
        () => undefined,
      );
      await Promise.race([loop.idle(), deadline]);
      await loop.idle();
      // Whatever time is left goes to what is not written yet.
      await Promise.race([kvStore?.flush(timer.signal).catch(() => undefined), deadline]);
      timer.abort();
    },
    close() {
      closing ??= close();
      return closing;
    },
  };
}

function notServing(state: EngineState): ServeError {
  return new ServeError(
    'draining',
    `The engine is ${state} and takes no more work. Retry elsewhere.`,
  );
}
