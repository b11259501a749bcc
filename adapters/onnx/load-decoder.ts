import type { ModelConfig } from '../../src/model/config.ts';
import { layersBeforeHead } from '../../src/model/load-order.ts';
import type { Checkpoint, LinearInfo } from '../../src/weights/checkpoint.ts';
import { decoderGraph } from './graph/decoder-graph.ts';
import type { GraphBuilder } from './graph/graph-builder.ts';
import { headGraph, type HeadFormat } from './graph/head-graph.ts';
import { accuracyLevel, type Precision } from './graph/layers.ts';
import type { DecoderGroup } from './lane.ts';
import { planLayerGroups, type LayerGroup } from './layer-groups.ts';
import { createFilledSession, fillWeights, type LoadedSession } from './load-session.ts';
import type { OrtRuntime } from './ort.ts';
import { probeKernels, type KernelTraits, type ProductKind } from './kernel-probe.ts';

export interface LoadDecoderOptions {
  readonly runtime: OrtRuntime;
  readonly config: ModelConfig;
  readonly checkpoint: Checkpoint;
  readonly precision: Precision;
  readonly head: HeadFormat;
  /** Compute threads. */
  readonly threads: number;
  /** A session is ready: what it took to fill its weights, and to create it. */
  readonly onSession?: ((times: SessionTimes) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** In milliseconds. */
export interface SessionTimes {
  readonly fillMs: number;
  readonly createMs: number;
}

/** A decoder whose sessions come one after the other, in the order in which a pass needs them. */
export interface DecoderLoad {
  readonly groups: readonly DecoderGroup[];
  readonly head: Promise<LoadedSession>;
  readonly traits: KernelTraits;
  /** What the layers multiply with. */
  readonly linearKind: ProductKind;
  /** Resolves when everything is loaded; rejects with what went wrong first. */
  readonly loaded: Promise<void>;
  /** Ends a load under way: steps that wait for it fail. */
  stop(): void;
  /** The same, and gives everything back. No step may run. */
  close(): Promise<void>;
}

const LINEARS = [
  'self_attn.q_proj',
  'self_attn.k_proj',
  'self_attn.v_proj',
  'self_attn.o_proj',
  'mlp.gate_proj',
  'mlp.up_proj',
  'mlp.down_proj',
];

/**
 * Sessions created at once. ONNX Runtime rearranges a session's weights in a single thread, and each
 * session under way holds its weights twice.
 */
const MOST_CREATED_AT_ONCE = 4;

/** Looks at the layers and begins to load them; resolves before they are there. */
export async function startDecoderLoad(options: LoadDecoderOptions): Promise<DecoderLoad> {
  const { runtime, config, checkpoint, precision } = options;
  checkpoint.begin?.();
  const infos = await readInfos(options);
  const traits = await probeKernels(runtime, accuracyLevel(precision));
  const plan = planLayerGroups(config, infos);
  const graphOf = (group: LayerGroup) => (): GraphBuilder =>
    decoderGraph({
      config: config.text,
      checkpoint,
      infos,
      ...group,
      precision,
      withImages: config.vision !== null,
    });
  const before = layersBeforeHead(config.text.layerCount);
  const early = plan.filter(({ to }) => to <= before);
  const graphs = [
    ...early.map(graphOf),
    () => headGraph({ config: config.text, checkpoint, format: options.head }),
    ...plan.slice(early.length).map(graphOf),
  ];
  const closing = new AbortController();
  const stop = (): void => closing.abort(new TypeError('the backend is closed'));
  const { signal } = options;
  const loads = loadInOrder(runtime, graphs, {
    dropPrepacked: traits.dropsOriginals,
    onSession: options.onSession ?? ((): void => undefined),
    createdAtOnce: Math.max(1, Math.min(options.threads, MOST_CREATED_AT_ONCE)),
    signal: signal === undefined ? closing.signal : AbortSignal.any([signal, closing.signal]),
  });
  const [head] = loads.splice(early.length, 1) as [Promise<LoadedSession>];
  const all = [head, ...loads];
  const loaded = Promise.all(all).then(() => undefined);
  loaded.catch(() => undefined);
  return {
    head,
    groups: plan.map((group, i) => ({ ...group, loaded: loads[i] as Promise<LoadedSession> })),
    traits,
    linearKind: [...infos.values()].some(({ type }) => type === 'int4') ? 'int4' : 'float',
    loaded,
    stop,
    async close() {
      stop();
      for (const result of await Promise.allSettled(all)) {
        if (result.status === 'fulfilled') result.value.close();
      }
    },
  };
}

async function readInfos(options: LoadDecoderOptions): Promise<Map<string, LinearInfo>> {
  const { config, checkpoint, signal } = options;
  const infos = new Map<string, LinearInfo>();
  for (let layer = 0; layer < config.text.layerCount; layer++) {
    for (const name of LINEARS) {
      const full = `layers.${layer}.${name}`;
      infos.set(full, await checkpoint.linear(full, signal));
    }
  }
  return infos;
}

/**
 * Fills weights one session after the other, so that bytes are used in the order in which they come,
 * and creates sessions behind that, a few at a time. After a failure nothing more begins.
 */
function loadInOrder(
  runtime: OrtRuntime,
  graphs: readonly (() => GraphBuilder)[],
  options: {
    readonly dropPrepacked: boolean;
    readonly createdAtOnce: number;
    readonly onSession: (times: SessionTimes) => void;
    readonly signal: AbortSignal;
  },
): Promise<LoadedSession>[] {
  const { createdAtOnce, dropPrepacked } = options;
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const creating = new Set<Promise<LoadedSession>>();
  let filling: Promise<unknown> = Promise.resolve();
  return graphs.map((createGraph) => {
    const graph = createGraph();
    const filled = filling.then(async () => {
      // One more would hold its weights twice, too.
      while (creating.size >= createdAtOnce) await Promise.race(creating).catch(() => undefined);
      signal.throwIfAborted();
      const startedMs = performance.now();
      const weights = await fillWeights(runtime, graph, signal);
      return { weights, fillMs: performance.now() - startedMs };
    });
    const created = filled.then(async ({ weights, fillMs }) => {
      const startedMs = performance.now();
      const session = createFilledSession(runtime, graph, weights, { dropPrepacked });
      creating.add(session);
      try {
        await session;
        options.onSession({ fillMs, createMs: performance.now() - startedMs });
        return session;
      } finally {
        creating.delete(session);
      }
    });
    created.catch((error: unknown) => stop.abort(error));
    filling = filled.catch(() => undefined);
    return created;
  });
}
