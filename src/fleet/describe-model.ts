import { readManifest, VOCABULARY_KEY } from '../bundle/manifest.ts';
import { ServeError } from '../errors.ts';
import { boundedBytes, boundedText } from '../lib/bounded-body.ts';
import { parseImageConfig } from '../image/image-config.ts';
import { parseGenerationConfig } from '../model/generation-config.ts';
import { parseModelConfig } from '../model/parse-config.ts';
import { createTokenizer } from '../prompt/bpe-tokenizer.ts';
import type { Tokenizer } from '../prompt/tokenizer.ts';
import { loadVocabulary } from '../prompt/vocabulary.ts';
import type { ObjectSource } from '../weights/object-source.ts';
import { readJson } from '../weights/read-json.ts';
import type { Affinity, Target } from './affinity.ts';
import { failedAnswer } from './fleet-error.ts';
import type { FleetLink } from './fleet-link.ts';
import type { FleetWatch } from './fleet-watch.ts';
import { parseServedModel, type ServedModel } from './served-model.ts';

/** What is prepared for: the model that the fleet serves, and its tokenizer. */
export interface FleetModel extends ServedModel {
  readonly tokenizer: Tokenizer;
}

export interface DescribeOptions {
  /** What clients call the model. */
  readonly id: string;
  /** Longest prompt plus completion; that of the replicas, which refuse what is longer. */
  readonly contextTokens: number;
  /** Seconds since 1970 at which the model was made available. */
  readonly createdSeconds: number;
}

const MAX_MODEL_BYTES = 1_000_000;
/** Gemma's takes 5 MB. */
const MAX_VOCABULARY_BYTES = 64 * 2 ** 20;
const NOTHING = new Uint8Array(0);

/**
 * Describes a model by the small files of its bundle (see `gemlet pack`), so that prompts are prepared
 * and bad ones refused before any replica is up.
 * @throws ServeError invalid_checkpoint, unsupported_model, weights_unavailable
 */
export async function describeFromFiles(
  source: ObjectSource,
  options: DescribeOptions,
  signal?: AbortSignal,
): Promise<FleetModel> {
  const configJson = await readJson(source, 'config.json', signal);
  if (configJson === undefined) throw lacks(source, 'config.json');
  const generationConfig = await readJson(source, 'generation_config.json', signal);
  const config = parseModelConfig(configJson, { generationConfig });
  const imageJson = (await readJson(source, 'preprocessor_config.json', signal)) ?? {};
  const manifest = await readManifest(source, signal);
  const info = await source.head(VOCABULARY_KEY, signal);
  if (info === null) throw lacks(source, VOCABULARY_KEY);
  const bytes = new Uint8Array(info.sizeBytes);
  await source.read(VOCABULARY_KEY, 0, bytes, signal);
  const tokenizer = createTokenizer(loadVocabulary(bytes));
  return {
    card: {
      ...options,
      contextTokens: Math.min(options.contextTokens, config.text.maxPositions),
      precision: 'fast',
      ...(manifest === undefined || manifest === null ? {} : { fingerprint: manifest.fingerprint }),
      acceptsImages: config.vision !== null,
      vocabSize: tokenizer.vocabSize,
      defaults: parseGenerationConfig(generationConfig),
    },
    config,
    image: config.vision === null ? null : parseImageConfig(imageJson, config.vision),
    fingerprint: manifest?.fingerprint ?? null,
    tokenizer,
  };
}

/**
 * Asks the replicas what they serve; waits for one that is up.
 * @throws ServeError upstream_unavailable, model_loading; the signal's reason on abort
 */
export async function describeFromReplicas(
  { affinity, link, watch }: { affinity: Affinity; link: FleetLink; watch: FleetWatch },
  signal: AbortSignal,
): Promise<FleetModel> {
  await watch.untilReady(signal);
  let failure: unknown;
  // Those that were silent just now would be waited for.
  for (const target of affinity.targets().filter(({ url }) => watch.isUp(url))) {
    try {
      const served = parseServedModel(
        JSON.parse(await boundedText(await get(link, target, 'model', signal), MAX_MODEL_BYTES)),
      );
      const answer = await get(link, target, 'vocabulary', signal);
      const bytes = await boundedBytes(answer, MAX_VOCABULARY_BYTES);
      return { ...served, tokenizer: createTokenizer(loadVocabulary(bytes)) };
    } catch (error) {
      signal.throwIfAborted();
      failure = error;
    }
  }
  if (ServeError.is(failure)) throw failure;
  throw new ServeError('upstream_unavailable', 'No replica says which model it serves. Retry.', {
    cause: failure,
  });
}

async function get(
  link: FleetLink,
  target: Target,
  what: string,
  signal: AbortSignal,
): Promise<Response> {
  const response = await link.send(target, 'GET', `/replica/v1/${what}`, NOTHING, signal);
  if (response.ok) return response;
  throw failedAnswer(response.status, await boundedText(response, MAX_MODEL_BYTES)).reason;
}

function lacks(source: ObjectSource, file: string): ServeError {
  return new ServeError(
    'invalid_checkpoint',
    `${source.name} has no ${file}: publish the model there with gemlet pack.`,
  );
}
