import { memoryTable } from '../model/memory.ts';
import type { MemoryOptions, MemoryTable } from '../model/memory.ts';
import { countParameters } from '../model/parameters.ts';
import type { ParameterCounts } from '../model/parameters.ts';
import type { TensorDtype, TensorInfo } from './checkpoint.ts';
import type { OpenedCheckpoint } from './open-checkpoint.ts';

/** What a checkpoint is, as plain data for people and scripts. */
export interface CheckpointReport {
  readonly name: string;
  readonly architecture: string;
  readonly acceptsImages: boolean;
  readonly contextTokens: number;
  readonly vocabSize: number;
  readonly parameters: ParameterCounts;
  readonly files: readonly string[];
  readonly sizeBytes: number;
  readonly tensors: readonly TensorGroup[];
  /** Expected memory of a running model, one row of context each. */
  readonly memory: readonly (MemoryTable & { readonly contextTokens: number })[];
  /** Stored names that are not used. */
  readonly ignored: readonly string[];
}

/** Tensors of one kind that are stored alike. */
export interface TensorGroup {
  readonly kind: TensorKind;
  /** An int4 linear counts once, not once per part. */
  readonly count: number;
  /** Of the values, or of the scales of int4 linears. */
  readonly dtype: TensorDtype;
  /** null for plain floats. */
  readonly quantization: string | null;
  readonly bytes: number;
}

export type TensorKind = 'embedding' | 'head' | 'linear' | 'norm' | 'vision' | 'projector';

export interface InspectOptions {
  /** Entries a local layer keeps per row; the backend's to say. */
  readonly ringTokens: number;
  /** Context lengths to show memory for; default powers of four up to the model's own. */
  readonly contextTokens?: readonly number[];
  readonly rowCount?: number;
  readonly head?: MemoryOptions['head'];
  readonly precision?: MemoryOptions['precision'];
}

const FIRST_CONTEXT_TOKENS = 2048;

/** Describes an opened checkpoint from its headers alone; reads no weights. */
export function inspectCheckpoint(
  checkpoint: OpenedCheckpoint,
  options: InspectOptions,
): CheckpointReport {
  const { config, name, files, sizeBytes, ignored } = checkpoint;
  const { text, vision } = config;
  const groups = groupTensors(checkpoint.tensors);
  const contexts = options.contextTokens ?? contextSteps(text.maxPositions);
  return {
    name,
    architecture:
      vision === null
        ? 'Gemma 3, text only (Gemma3ForCausalLM)'
        : 'Gemma 3, text and images (Gemma3ForConditionalGeneration)',
    acceptsImages: vision !== null,
    contextTokens: text.maxPositions,
    vocabSize: text.vocabSize,
    parameters: countParameters(config),
    files,
    sizeBytes,
    tensors: groups,
    memory: contexts.map((contextTokens) => ({
      contextTokens,
      ...memoryTable({
        config,
        contextTokens,
        precision: options.precision ?? 'fast',
        head: options.head ?? 'int8',
        rowCount: options.rowCount ?? 1,
        ringTokens: options.ringTokens,
        ...linearStorage(checkpoint.tensors),
      }),
    })),
    ignored,
  };
}

function linearStorage(
  tensors: ReadonlyMap<string, TensorInfo>,
): Pick<MemoryOptions, 'decoder'> & { readonly groupSize: number } {
  const groupSize = groupSizeOf(tensors, 'layers.0.mlp.down_proj');
  return { decoder: groupSize === null ? 'float' : 'int4', groupSize: groupSize ?? 32 };
}

function groupTensors(tensors: ReadonlyMap<string, TensorInfo>): readonly TensorGroup[] {
  const groups = new Map<string, TensorGroup>();
  for (const [listed, { dtype, sizeBytes }] of tensors) {
    const name = listed.replace(/\.(?:qweight|qzeros|scales)$/, '');
    const groupSize = groupSizeOf(tensors, name);
    const kind = kindOf(name);
    // Scales come once per int4 linear and carry the dtype that differs between checkpoints.
    const isCounted = groupSize === null || listed.endsWith('.scales');
    const counted = groupSize === null ? dtype : (tensors.get(`${name}.scales`)?.dtype ?? dtype);
    const key = `${kind} ${counted} ${groupSize}`;
    const group = groups.get(key);
    groups.set(key, {
      kind,
      count: (group?.count ?? 0) + (isCounted ? 1 : 0),
      dtype: counted,
      quantization: groupSize === null ? null : `int4 (AWQ), groups of ${groupSize}`,
      bytes: (group?.bytes ?? 0) + sizeBytes,
    });
  }
  return [...groups.values()];
}

/** Inputs per scale of an int4 linear; null for floats. */
function groupSizeOf(tensors: ReadonlyMap<string, TensorInfo>, name: string): number | null {
  const inputs = tensors.get(`${name}.qweight`)?.shape[0];
  const groupCount = tensors.get(`${name}.scales`)?.shape[0];
  return inputs === undefined || groupCount === undefined ? null : inputs / groupCount;
}

function kindOf(name: string): TensorKind {
  if (name === 'embed_tokens') return 'embedding';
  if (name === 'lm_head') return 'head';
  if (name.startsWith('vision.')) return 'vision';
  if (name.startsWith('projector.')) return 'projector';
  return name.endsWith('_proj') ? 'linear' : 'norm';
}

function contextSteps(maxPositions: number): readonly number[] {
  const steps: number[] = [];
  for (let tokens = FIRST_CONTEXT_TOKENS; tokens < maxPositions; tokens *= 4) steps.push(tokens);
  return [...steps, maxPositions];
}
