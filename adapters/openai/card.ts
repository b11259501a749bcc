import type { ModelCard, SamplingDefaults } from '../../src/completer.ts';
import { ServeError } from '../../src/errors.ts';
import type { JsonObject } from '../../src/openai/parse.ts';
import type { UpstreamKind } from './call.ts';
import { lost } from './fault.ts';
import { countOf, listOf, numberOf, objectOf, textOf } from './json.ts';
import type { UpstreamLink } from './link.ts';
import { canSample } from './support.ts';

/** What the server is and serves. */
export interface Upstream {
  readonly kind: UpstreamKind;
  /** What the server calls the model. */
  readonly model: string;
  readonly card: ModelCard;
  /** SGLang only: frames tell what is new, not all so far. */
  readonly isIncremental: boolean;
}

export interface DescribeUpstreamOptions {
  readonly link: UpstreamLink;
  readonly kind: UpstreamKind | 'auto';
  /** null takes the first that the server lists. */
  readonly model: string | null;
  /** Wins over what the server says. */
  readonly card: Partial<ModelCard>;
  /** Of servers that do not say how long their context is; null refuses those. */
  readonly contextTokens: number | null;
  /** Of servers that do not say theirs. */
  readonly defaults: SamplingDefaults;
  /** Ids of our tokenizer; null without one. */
  readonly vocabSize: number | null;
}

/** The routes that tell whether the server takes requests. */
export const HEALTH: Readonly<Record<UpstreamKind, string>> = {
  vllm: '/health',
  sglang: '/health',
  'llama.cpp': '/health',
  tgi: '/health',
  gemlet: '/health/ready',
  openai: '/v1/models',
};

/** Gemma 3's, for servers that do not say theirs. */
const VOCABULARY = 262_144;

const OWNERS: Readonly<Record<string, UpstreamKind>> = {
  vllm: 'vllm',
  sglang: 'sglang',
  llamacpp: 'llama.cpp',
};

/**
 * Asks the server what it is (`auto`: by `owned_by` in `/v1/models`, TGI by `/info`) and what it serves.
 * @throws ServeError backend_unavailable when it lacks the model or does not say how long its context
 *   is; what requests to it fail with
 */
export async function describeUpstream(
  options: DescribeUpstreamOptions,
  signal: AbortSignal,
): Promise<Upstream> {
  const { link } = options;
  const list = listOf((await link.get('/v1/models', signal))['data']).map(objectOf);
  const entry = options.model === null ? list[0] : list.find(({ id }) => id === options.model);
  if (entry === undefined) throw lacksModel(options.model);
  const kind = options.kind === 'auto' ? await detect(entry, link, signal) : options.kind;
  const details = await detailsOf(kind, link, signal);
  const contextTokens =
    options.card.contextTokens ?? contextOf(entry, details) ?? options.contextTokens;
  if (contextTokens === null) {
    throw new ServeError(
      'backend_unavailable',
      'The engine behind this server does not say how long its context is: start the gateway with --context.',
      { cause: new Error('set contextTokens of the upstream, --context of gemlet gateway') },
    );
  }
  const model = textOf(entry['id']);
  if (model === null) throw lost('lists a model without an id');
  const { args } = details;
  return {
    kind,
    model,
    isIncremental: args['incremental_streaming_output'] === true,
    card: {
      id: model,
      createdSeconds: countOf(entry['created']) ?? 0,
      precision: textOf(entry['precision']) ?? 'unknown',
      acceptsImages: acceptsImages(kind, entry, details),
      vocabSize:
        options.vocabSize ??
        countOf(entry['vocab_size']) ??
        countOf(objectOf(entry['meta'])['n_vocab']) ??
        VOCABULARY,
      defaults: defaultsOf(kind, objectOf(entry['defaults']), options.defaults),
      ...options.card,
      contextTokens,
    },
  };
}

/** What is told beside `/v1/models`: TGI's `/info`, SGLang's server and model info, llama.cpp's `/props`. */
interface Details {
  readonly info: JsonObject;
  readonly args: JsonObject;
}

async function detailsOf(
  kind: UpstreamKind,
  link: UpstreamLink,
  signal: AbortSignal,
): Promise<Details> {
  switch (kind) {
    case 'tgi':
      return { info: await link.get('/info', signal), args: {} };
    case 'llama.cpp':
      return { info: await link.get('/props', signal), args: {} };
    case 'sglang':
      return {
        info: await either(link, ['/model_info', '/get_model_info'], signal),
        args: await either(link, ['/server_info', '/get_server_info'], signal),
      };
    default:
      return { info: {}, args: {} };
  }
}

async function detect(
  entry: JsonObject,
  link: UpstreamLink,
  signal: AbortSignal,
): Promise<UpstreamKind> {
  const owner = textOf(entry['owned_by']) ?? '';
  const known = OWNERS[owner];
  if (known !== undefined) return known;
  // Both are told by gemlet alone.
  if (Array.isArray(entry['input_modalities']) && textOf(entry['precision']) !== null) {
    return 'gemlet';
  }
  const info = await optional(link, '/info', signal);
  return info['router'] === 'text-generation-router' ? 'tgi' : 'openai';
}

/** Not every server, nor every version, has the route, or lets us use it. */
async function optional(
  link: UpstreamLink,
  path: string,
  signal: AbortSignal,
): Promise<JsonObject> {
  try {
    return await link.get(path, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (ServeError.is(error) && error.code === 'model_loading') throw error;
    return {};
  }
}

/** What the first of the routes says that there is: names changed from version to version. */
async function either(
  link: UpstreamLink,
  paths: readonly string[],
  signal: AbortSignal,
): Promise<JsonObject> {
  for (const path of paths) {
    const said = await optional(link, path, signal);
    if (Object.keys(said).length > 0) return said;
  }
  return {};
}

function contextOf(entry: JsonObject, { info, args }: Details): number | null {
  const settings = objectOf(info['default_generation_settings']);
  return (
    countOf(entry['max_model_len']) ??
    // Dynamo's name, and that of routers and hosted servers.
    countOf(entry['context_window']) ??
    countOf(entry['context_length']) ??
    // Of one slot of llama.cpp, which is what a request gets; n_ctx_train is more than it allows.
    countOf(settings['n_ctx']) ??
    countOf(objectOf(entry['meta'])['n_ctx']) ??
    countOf(info['max_total_tokens']) ??
    countOf(args['context_length'])
  );
}

function acceptsImages(kind: UpstreamKind, entry: JsonObject, { info }: Details): boolean {
  const modalities = entry['input_modalities'];
  if (Array.isArray(modalities)) return modalities.includes('image');
  if (kind === 'llama.cpp') return objectOf(info['modalities'])['vision'] === true;
  // Not told: the server refuses what it cannot read.
  return info['has_image_understanding'] !== false;
}

/** What the server says, else `other`, without what it cannot do: that would be refused in every request. */
function defaultsOf(
  kind: UpstreamKind,
  said: JsonObject,
  other: SamplingDefaults,
): SamplingDefaults {
  return {
    temperature: numberOf(said['temperature']) ?? other.temperature,
    topK: canSample(kind, 'top_k') ? (countOf(said['top_k']) ?? other.topK) : 0,
    topP: numberOf(said['top_p']) ?? other.topP,
    minP: canSample(kind, 'min_p') ? (numberOf(said['min_p']) ?? other.minP) : 0,
    repetitionPenalty: canSample(kind, 'repetition_penalty')
      ? (numberOf(said['repetition_penalty']) ?? other.repetitionPenalty)
      : 1,
    maxTokens: countOf(said['max_tokens']) ?? other.maxTokens,
  };
}

function lacksModel(model: string | null): ServeError {
  const what = model === null ? 'no model at all' : `no model '${model}'`;
  return new ServeError(
    'backend_unavailable',
    'The engine behind this server does not serve the model; the log says more.',
    { cause: new Error(`it lists ${what}: check the upstream's model`) },
  );
}
