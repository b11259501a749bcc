import type { ModelConfig } from '../../src/model/config.ts';
import type { Checkpoint, LinearInfo } from '../../src/weights/checkpoint.ts';
import { decoderGraph } from './graph/decoder-graph.ts';
import { headGraph, type HeadFormat } from './graph/head-graph.ts';
import { accuracyLevel, type Precision } from './graph/layers.ts';
import type { DecoderGroup } from './lane.ts';
import { planLayerGroups } from './layer-groups.ts';
import { loadSession, type LoadedSession } from './load-session.ts';
import type { OrtRuntime } from './ort.ts';
import { probeKernels, type KernelTraits, type ProductKind } from './kernel-probe.ts';

export interface LoadDecoderOptions {
  readonly runtime: OrtRuntime;
  readonly config: ModelConfig;
  readonly checkpoint: Checkpoint;
  readonly precision: Precision;
  readonly head: HeadFormat;
  readonly signal?: AbortSignal | undefined;
}

export interface LoadedDecoder {
  readonly groups: readonly DecoderGroup[];
  readonly head: LoadedSession;
  readonly traits: KernelTraits;
  /** What the layers multiply with. */
  readonly linearKind: ProductKind;
  close(): void;
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

/** Sessions created at once: ONNX Runtime rearranges a session's weights in a single thread. */
const CREATED_AT_ONCE = 2;

/** Loads the layer groups and the head, two at a time; on failure everything is given back. */
export async function loadDecoder(options: LoadDecoderOptions): Promise<LoadedDecoder> {
  const { runtime, config, checkpoint, precision, signal } = options;
  const infos = new Map<string, LinearInfo>();
  for (let layer = 0; layer < config.text.layerCount; layer++) {
    for (const name of LINEARS) {
      const full = `layers.${layer}.${name}`;
      infos.set(full, await checkpoint.linear(full, signal));
    }
  }
  const traits = await probeKernels(runtime, accuracyLevel(precision));
  const plan = planLayerGroups(config, infos);
  const graphs = [
    // The head first: it is the largest single piece, so nothing waits for it at the end.
    () => headGraph({ config: config.text, checkpoint, format: options.head }),
    ...plan.map(
      (group) => () =>
        decoderGraph({
          config: config.text,
          checkpoint,
          infos,
          ...group,
          precision,
          withImages: config.vision !== null,
        }),
    ),
  ];
  const loaded = await loadAll(
    graphs.map(
      (graph) => () =>
        loadSession(runtime, graph(), { dropPrepacked: traits.dropsOriginals, signal }),
    ),
  );
  const [head, ...sessions] = loaded as [LoadedSession, ...LoadedSession[]];
  return {
    head,
    groups: sessions.map((session, i) => ({ ...(plan[i] as DecoderGroup), loaded: session })),
    traits,
    linearKind: [...infos.values()].some(({ type }) => type === 'int4') ? 'int4' : 'float',
    close() {
      for (const session of loaded) session.close();
    },
  };
}

/** Runs the loads a few at a time, in order; when one fails, waits for the rest and closes all. */
async function loadAll(loads: readonly (() => Promise<LoadedSession>)[]): Promise<LoadedSession[]> {
  const results: LoadedSession[] = [];
  const failures: unknown[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < loads.length && failures.length === 0) {
      const index = next++;
      try {
        results[index] = await (loads[index] as () => Promise<LoadedSession>)();
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: CREATED_AT_ONCE }, worker));
  if (failures.length > 0) {
    for (const session of results) session?.close();
    throw failures[0];
  }
  return results;
}
