import * as z from 'zod/mini';
import type { ModelCard } from '../completer.ts';
import type {
  GenerateEvent,
  PreparedImage,
  PreparedPrompt,
  SamplingParams,
} from '../engine/engine.ts';
import { ServeError } from '../errors.ts';
import type { ImageConfig } from '../image/image-config.ts';
import type { ModelConfig } from '../model/config.ts';

/** What whoever prepares prompts for a model must know of it, beside its vocabulary. Plain data. */
export interface ServedModel {
  readonly card: ModelCard;
  readonly config: ModelConfig;
  /** null: it reads no images. */
  readonly image: ImageConfig | null;
  /** Equal fingerprints, equal model; null where none was made. */
  readonly fingerprint: string | null;
}

/** The engine beneath a completer, for prompts that were prepared elsewhere. */
export interface ReplicaAccess {
  model(signal?: AbortSignal): Promise<ServedModel>;
  /** The compact vocabulary, see `loadVocabulary`. */
  vocabulary(signal?: AbortSignal): Promise<Uint8Array>;
  generate(
    prompt: PreparedPrompt,
    params: SamplingParams,
    signal?: AbortSignal,
  ): AsyncIterable<GenerateEvent>;
  /** Prepares a picture's file: the whole picture, then its crops. */
  loadImage(
    file: Uint8Array,
    panAndScan: boolean,
    signal?: AbortSignal,
  ): Promise<readonly PreparedImage[]>;
}

const card = z.object({
  id: z.string(),
  createdSeconds: z.number(),
  contextTokens: z.int().check(z.gte(1)),
  precision: z.string(),
  fingerprint: z.optional(z.string()),
  acceptsImages: z.boolean(),
  vocabSize: z.int().check(z.gte(1)),
  defaults: z.object({
    temperature: z.number(),
    topK: z.number(),
    topP: z.number(),
    minP: z.number(),
    repetitionPenalty: z.number(),
    maxTokens: z.number(),
  }),
});

/** Only what would fail far from here is looked at: the sender is one of our own, of this version. */
const schema = z.object({
  card,
  config: z.looseObject({
    text: z.looseObject({ vocabSize: z.int(), bosId: z.int(), eosIds: z.array(z.int()) }),
    vision: z.nullable(z.looseObject({ tokensPerImage: z.int(), imageTokenId: z.int() })),
  }),
  image: z.nullable(z.looseObject({ imageSize: z.int() })),
  fingerprint: z.nullable(z.string()),
});

/** @throws ServeError upstream_unavailable when it is no description of a model */
export function parseServedModel(json: unknown): ServedModel {
  const result = schema.safeParse(json);
  if (result.success) return result.data as unknown as ServedModel;
  const path = result.error.issues[0]?.path.join('.') ?? '';
  throw new ServeError(
    'upstream_unavailable',
    `A replica described its model in a way that this gateway does not know (${path}): run the same version of gemlet on both.`,
  );
}
