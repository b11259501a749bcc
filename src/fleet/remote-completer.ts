import type { Completer, CompletionEvent, CompletionRequest, ModelCard } from '../completer.ts';
import { createEngineCompleter, tokenBytesOf } from '../engine-completer.ts';
import { ServeError } from '../errors.ts';
import type { DownloadLimits } from '../image/download-limits.ts';
import type { ImageLimits } from '../image/sniff.ts';
import type { PreparePicture } from '../image/prepare-picture.ts';
import { createImageLoader } from '../image/load-image.ts';
import type { SafeFetch } from '../image/safe-fetch.ts';
import { abortable } from '../lib/abortable.ts';
import type { Clock } from '../lib/clock.ts';
import type { LoadImage } from '../prompt/load-images.ts';
import { createPreparer } from '../prompt/prepare.ts';
import type { Affinity } from './affinity.ts';
import { describeFromReplicas, type FleetModel } from './describe-model.ts';
import { createFleetLink } from './fleet-link.ts';
import { createFleetCounters } from './fleet-stats.ts';
import { createFleetWatch, type FleetWatchOptions } from './fleet-watch.ts';
import { createRemoteEngine, type RemoteEngineOptions } from './remote-engine.ts';
import { createRemoteSessions } from './remote-sessions.ts';
import type { SessionTable } from './session-table.ts';

export interface RemoteCompleterOptions
  extends
    Pick<FleetWatchOptions, 'pollMs' | 'coldMs' | 'isReady' | 'starts'>,
    Pick<RemoteEngineOptions, 'maxAttempts' | 'stallMs' | 'remembersUnnamed' | 'onEvent'> {
  /** How replicas are reached. */
  readonly affinity: Affinity;
  /** Where conversations last were. */
  readonly sessions: SessionTable;
  /** Shared with the replicas; the first one signs. */
  readonly keys: readonly string[];
  readonly clock: Clock;
  /** Makes of a picture's file what the engine takes. */
  readonly prepare: PreparePicture;
  /** Fetches pictures' URLs; null takes data URIs only. */
  readonly fetchUrl: SafeFetch | null;
  /** Pixels above which pictures travel as they are and replicas decode them; default: all are decoded here. */
  readonly maxDecodePixels?: number;
  /** What pictures' URLs may cost all requests together. */
  readonly downloads?: DownloadLimits;
  /** Should be those of `prepare`. */
  readonly imageLimits?: ImageLimits;
  /** Finds out about the model; default: the replicas are asked, which wakes them. */
  readonly describe?: (signal: AbortSignal) => Promise<FleetModel>;
  /** Default: the runtime's own. */
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

/** What a model is served with once it is known. */
interface Inner {
  readonly completer: Completer;
  readonly card: ModelCard;
}

/**
 * The completer over a fleet of replicas: prompts are prepared here and computed there. Runs on any
 * runtime.
 * @throws RangeError for keys that are none
 */
export function createRemoteCompleter(options: RemoteCompleterOptions): Completer {
  const { affinity, sessions, keys, clock } = options;
  const [key = ''] = keys;
  const fetch = options.fetch ?? ((url, init) => globalThis.fetch(url, init));
  const link = createFleetLink({ keys, clock, fetch });
  const watch = createFleetWatch({
    ...(options.onEvent === undefined ? {} : { onEvent: options.onEvent }),
    affinity,
    link,
    clock,
    pollMs: options.pollMs ?? null,
    ...(options.coldMs === undefined ? {} : { coldMs: options.coldMs }),
    ...(options.isReady === undefined ? {} : { isReady: options.isReady }),
    ...(options.starts === undefined ? {} : { starts: options.starts }),
  });
  const counters = createFleetCounters();
  const stop = new AbortController();
  let end: 'open' | 'draining' | 'closed' = 'open';
  let inner: Inner | null = null;
  let opening: Promise<Inner> | null = null;

  async function open(): Promise<Inner> {
    const describe =
      options.describe ?? ((signal) => describeFromReplicas({ affinity, link, watch }, signal));
    const model = await describe(stop.signal);
    const { card, config, tokenizer } = model;
    const engine = createRemoteEngine({
      ...options,
      onEvent(event) {
        counters.count(event);
        options.onEvent?.(event);
      },
      model: {
        config,
        contextTokens: card.contextTokens,
        precision: card.precision === 'exact' ? 'exact' : 'fast',
      },
      fingerprint: model.fingerprint,
      tokens: tokenBytesOf(tokenizer, config),
      link,
      watch,
      key,
    });
    const preparer = createPreparer({
      tokenizer,
      model: config,
      contextTokens: card.contextTokens,
      loadImage: imageLoader(model, options),
    });
    const completer = createEngineCompleter({
      engine,
      tokenizer,
      prepare: (input, signal) => preparer.prepare(input, signal),
      card,
    });
    inner = { completer, card };
    return inner;
  }

  /** What is found out is found out once; a failure is forgotten. */
  function opened(signal?: AbortSignal): Promise<Inner> {
    if (end !== 'open') return Promise.reject(notServing(end));
    if (inner !== null) return Promise.resolve(inner);
    if (opening === null) {
      opening = open().finally(() => {
        opening = null;
      });
      opening.catch(() => undefined);
    }
    return abortable(opening, signal);
  }

  async function* complete(
    request: CompletionRequest,
    signal?: AbortSignal,
  ): AsyncGenerator<CompletionEvent, void, undefined> {
    const { completer } = await opened(signal);
    yield* completer.complete(request, signal);
  }

  return {
    get model() {
      if (inner !== null) return inner.card;
      throw new ServeError('model_loading', 'The model is not known yet. Retry in a moment.');
    },
    get state() {
      if (end !== 'open') return end;
      // Without its card nothing can be answered, however ready the replicas are.
      return inner === null && watch.state === 'ready' ? 'loading' : watch.state;
    },
    describe: async (signal) => (await opened(signal)).card,
    async ready(signal) {
      await opened(signal);
      if (watch.state !== 'ready') await watch.untilReady(signal);
    },
    progress: () => watch.progress(),
    readyInMs: () => watch.readyInMs(),
    fleet: () => watch.fleet(),
    fleetStats: () => counters.stats(),
    complete,
    tokenize: async (request, signal) => (await opened(signal)).completer.tokenize(request, signal),
    detokenize: async (ids, signal) => (await opened(signal)).completer.detokenize(ids, signal),
    sessions: createRemoteSessions({ affinity, link, sessions, key }),
    async drain(deadlineMs) {
      if (end === 'closed') return;
      end = 'draining';
      await inner?.completer.drain(deadlineMs);
    },
    async close() {
      end = 'closed';
      stop.abort(notServing('closed'));
      watch.close();
      await inner?.completer.close();
    },
  };
}

function imageLoader(model: FleetModel, options: RemoteCompleterOptions): LoadImage {
  const { prepare, fetchUrl, maxDecodePixels, downloads, imageLimits } = options;
  if (model.image === null) {
    return () => {
      throw new ServeError('invalid_image', 'This model has no vision tower: send text only.');
    };
  }
  return createImageLoader({
    prepare,
    fetchUrl,
    config: model.image,
    ...(maxDecodePixels === undefined ? {} : { maxDecodePixels }),
    ...(downloads === undefined ? {} : { downloads }),
    ...(imageLimits === undefined ? {} : { limits: imageLimits }),
  });
}

function notServing(end: string): ServeError {
  return new ServeError(
    'draining',
    `The gateway is ${end} and takes no more work. Retry elsewhere.`,
  );
}
