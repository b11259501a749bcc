import * as z from 'zod/mini';
import type { CompletionRequest, ModelCard } from '../completer.ts';
import { booleanField, integerField, limitField, listOf, numberField } from './fields.ts';
import { invalid } from './parse.ts';

/** What chat and text completions share: sampling, limits and the shape of the answer. */
export interface SamplingFields {
  readonly n?: number | undefined;
  readonly stream?: boolean | undefined;
  readonly stream_options?: { readonly include_usage?: boolean | null | undefined } | undefined;
  readonly max_tokens?: number | undefined;
  readonly temperature?: number | undefined;
  readonly top_p?: number | undefined;
  readonly top_k?: number | undefined;
  readonly min_p?: number | undefined;
  readonly repetition_penalty?: number | undefined;
  readonly presence_penalty?: number | undefined;
  readonly frequency_penalty?: number | undefined;
  readonly logit_bias?: Readonly<Record<string, number>> | undefined;
  readonly seed?: number | undefined;
  readonly stop?: string | readonly string[] | undefined;
  readonly stop_token_ids?: readonly number[] | undefined;
  readonly allowed_token_ids?: readonly number[] | undefined;
  readonly min_tokens?: number | undefined;
  readonly include_stop_str_in_output?: boolean | undefined;
  readonly ignore_eos?: boolean | undefined;
  readonly return_token_ids?: boolean | undefined;
  readonly return_tokens_as_token_ids?: boolean | undefined;
  readonly cache_salt?: string | undefined;
  readonly prompt_cache_key?: string | undefined;
}

/** OpenAI's own bound on `n`. */
const MAX_CHOICES = 128;
const MAX_STOPS = 16;
const MAX_STOP_CHARACTERS = 1024;
const MAX_BIASES = 1024;
/** A quarter of Gemma's vocabulary. */
const MAX_ALLOWED_IDS = 65_536;
const MAX_SALT_CHARACTERS = 256;
/** Seeds of clients with 64-bit integers, signed or not, pass. */
const SEED_LIMIT = 2 ** 64;

const stopString = z.string().check(z.minLength(1), z.maxLength(MAX_STOP_CHARACTERS));
const bias = z.number().check(z.gte(-100), z.lte(100));
const TOKEN_ID = /^\d{1,9}$/;
const biases = z.pipe(
  z.record(z.string(), z.unknown()).check(
    z.refine(
      (value) => Object.keys(value).length <= MAX_BIASES,
      `must name at most ${MAX_BIASES} tokens`,
    ),
    // Here, so that no other key gets into the path of a message.
    z.refine(
      (value) => Object.keys(value).every((key) => TOKEN_ID.test(key)),
      'must have token ids as its keys',
    ),
  ),
  z.record(z.string(), bias),
);

export const samplingSchema: z.ZodMiniType<SamplingFields> = z.object({
  n: integerField(1, MAX_CHOICES, 'Completions to make of one prompt.'),
  stream: booleanField('Send the answer as server-sent events.'),
  stream_options: z.optional(z.object({ include_usage: z.nullish(z.boolean()) })),
  max_tokens: limitField('Tokens to generate at most; 0 only computes the prompt.'),
  temperature: numberField(0, 2, '0 always picks the most likely token.'),
  top_p: numberField(0, 1, 'Sample from the smallest set of tokens that reaches this probability.'),
  top_k: integerField(-1, undefined, 'Sample from the k most likely tokens; 0 or -1 is off.'),
  min_p: numberField(0, 1, "Drop tokens below this fraction of the likeliest token's probability."),
  repetition_penalty: numberField(0.01, 10, '1 is off.'),
  presence_penalty: numberField(-2, 2, 'Subtracted once from tokens already in the output.'),
  frequency_penalty: numberField(-2, 2, 'Subtracted per occurrence in the output.'),
  logit_bias: z.optional(biases),
  seed: z.optional(
    z.number().check(
      z.refine(
        (seed) => Number.isInteger(seed) && Math.abs(seed) <= SEED_LIMIT,
        'must be a 64-bit integer',
      ),
      z.describe('The same seed and request give the same text. Folded into 32 bits.'),
    ),
  ),
  stop: z.optional(
    z.union([stopString, listOf(stopString, MAX_STOPS)], {
      error: `must be a string or an array of up to ${MAX_STOPS} strings`,
    }),
  ),
  stop_token_ids: z.optional(listOf(z.int().check(z.gte(0)), 256)),
  allowed_token_ids: z.optional(
    listOf(z.int().check(z.gte(0)), MAX_ALLOWED_IDS, 1).check(
      z.describe('Only these tokens are generated; the end of turn must be among them to occur.'),
    ),
  ),
  min_tokens: integerField(0, undefined, 'Nothing ends the answer before so many tokens.'),
  include_stop_str_in_output: booleanField('Leave the stop string at the end of the text.'),
  ignore_eos: booleanField("Keep generating past the model's own end of turn."),
  return_token_ids: booleanField('Report token ids of prompt and completion, as vLLM does.'),
  return_tokens_as_token_ids: booleanField('Write tokens in log probabilities as token_id:7.'),
  cache_salt: z.optional(
    z
      .string()
      .check(
        z.minLength(1),
        z.maxLength(MAX_SALT_CHARACTERS),
        z.describe(
          'Only requests with the same salt and API key reuse what is cached of this one.',
        ),
      ),
  ),
  prompt_cache_key: z.optional(
    z
      .string()
      .check(
        z.describe(
          'Names the session when it is 1 to 256 visible ASCII characters; the headers x-session-affinity and x-session-id win over it.',
        ),
      ),
  ),
});

/** The sampling half of a completion request, before stop and log probabilities differ by route. */
export interface SamplingContext {
  readonly card: ModelCard;
  /** Draws a seed, 0..2^32-1, for requests that name none. */
  readonly randomSeed: () => number;
}

/** Log probabilities to report, in the engine's terms. */
export interface LogprobCounts {
  readonly logprobs: number | null;
  readonly promptLogprobs: number | null;
}

/**
 * Fills in the model's defaults and converts to engine terms.
 * @param maxTokens null leaves the limit to the completer
 * @throws ServeError invalid_request for ids outside the vocabulary
 */
export function toSampling(
  fields: SamplingFields,
  maxTokens: number | null,
  counts: LogprobCounts,
  context: SamplingContext,
): CompletionRequest['sampling'] {
  const { defaults, vocabSize } = context.card;
  return {
    maxTokens,
    temperature: fields.temperature ?? defaults.temperature,
    topK: Math.max(0, fields.top_k ?? defaults.topK),
    topP: fields.top_p ?? defaults.topP,
    minP: fields.min_p ?? defaults.minP,
    repetitionPenalty: fields.repetition_penalty ?? defaults.repetitionPenalty,
    presencePenalty: fields.presence_penalty ?? 0,
    frequencyPenalty: fields.frequency_penalty ?? 0,
    logitBias: toBiasMap(fields.logit_bias ?? {}, vocabSize),
    seed: fields.seed === undefined ? context.randomSeed() : foldSeed(fields.seed),
    stop: typeof fields.stop === 'string' ? [fields.stop] : (fields.stop ?? []),
    stopIds: checkIds(fields.stop_token_ids ?? [], vocabSize, 'stop_token_ids'),
    allowedIds:
      fields.allowed_token_ids === undefined
        ? null
        : checkIds(fields.allowed_token_ids, vocabSize, 'allowed_token_ids'),
    minTokens: checkMinimum(fields.min_tokens ?? 0, maxTokens),
    ignoreEos: fields.ignore_eos ?? false,
    includesStop: fields.include_stop_str_in_output ?? false,
    ...counts,
  };
}

/**
 * The limit a client set.
 * @returns null where it is none, or the one the model has anyway: what `/v1/models` says may be sent
 *   back, however long the prompt is
 */
export function limitOf(sent: number | undefined, card: ModelCard): number | null {
  return sent === undefined || sent === -1 || sent === defaultMaxTokens(card) ? null : sent;
}

/** Completion tokens when a request names no limit and its prompt is as short as can be. */
export function defaultMaxTokens({ defaults, contextTokens }: ModelCard): number {
  return Math.max(1, Math.min(defaults.maxTokens, contextTokens - 1));
}

function checkMinimum(minTokens: number, maxTokens: number | null): number {
  if (maxTokens === null || minTokens <= maxTokens) return minTokens;
  throw invalid('min_tokens', `must be at most max_tokens, which is ${maxTokens}`);
}

/**
 * Names what a request shares cached keys and values with: its tenant's requests of the same salt.
 * Tenants are hex digits, so no salt makes one tenant's scope another's.
 */
export function toScope(fields: SamplingFields, tenant: string): string {
  return fields.cache_salt === undefined ? tenant : `${tenant}\0${fields.cache_salt}`;
}

/**
 * Checks ids against the vocabulary.
 * @throws ServeError invalid_request naming the first bad entry
 */
export function checkIds(
  ids: readonly unknown[],
  vocabSize: number,
  param: string,
): readonly number[] {
  for (const [index, id] of ids.entries()) {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= vocabSize) {
      throw invalid(`${param}[${index}]`, `must be a token id from 0 to ${vocabSize - 1}`);
    }
  }
  return ids as readonly number[];
}

/**
 * Folds any 64-bit integer into 0..2^32-1; seeds already there stay as they are. The high half is
 * multiplied in, so that -1 and 2^32 do not fall on small seeds people use.
 */
function foldSeed(seed: number): number {
  const bits = BigInt.asUintN(64, BigInt(seed));
  const golden = 0x9e3779b1n; // 2^32 / phi, odd
  return Number(BigInt.asUintN(32, bits + (bits >> 32n) * golden));
}

function toBiasMap(
  biasByToken: Readonly<Record<string, number>>,
  vocabSize: number,
): ReadonlyMap<number, number> {
  const map = new Map<number, number>();
  for (const [key, value] of Object.entries(biasByToken)) {
    const id = Number(key);
    if (id >= vocabSize) {
      throw invalid('logit_bias', `must have token ids from 0 to ${vocabSize - 1} as its keys`);
    }
    map.set(id, value);
  }
  return map;
}
