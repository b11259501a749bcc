import { readOptions, UsageError } from '../read-options.ts';

const PLATFORMS = ['docker', 'cloudrun', 'runpod', 'modal', 'aws', 'cloudflare'] as const;
type Platform = (typeof PLATFORMS)[number];

/** What the person typed, each value in a form that is safe in YAML, JSON and a shell's argument. */
export interface DeployOptions {
  readonly platform: Platform;
  readonly isDryRun: boolean;
  readonly name: string;
  readonly gpu: string;
  readonly slots: number;
  readonly max: number;
  readonly isFleet: boolean;
  readonly isPublic: boolean;
  readonly pushes: boolean;
  readonly replicas: readonly string[];
  /** @throws UsageError when it was not given */
  need(option: TextOption): string;
  /** Null when it was not given. */
  get(option: TextOption): string | null;
}

type TextOption =
  | 'image'
  | 'model'
  | 'kv-store'
  | 's3-endpoint'
  | 'project'
  | 'region'
  | 'bucket'
  | 'secret'
  | 'cpu'
  | 'memory'
  | 'tool'
  | 's3-region'
  | 'bundle'
  | 'model-id'
  | 'context'
  | 'affinity'
  | 'replica-header-secret'
  | 'upstream'
  | 'upstream-kind'
  | 'upstream-model'
  | 'upstream-key-secret'
  | 'concurrency'
  | 'timeout';

interface Form {
  readonly pattern: RegExp;
  /** What it is called where it is missed or wrong. */
  readonly form: string;
}

const URL_FORM: Form = { pattern: /^https?:\/\/[\w.~%/:[\]-]+$/, form: 'an https URL' };

const SECRET_NAME: Form = {
  pattern: /^[\w/+=.@-]+$/,
  form: 'the name of a Secrets Manager secret',
};

const FORMS: Readonly<Record<TextOption, Form>> = {
  image: { pattern: /^\w[\w.\-/:@]*$/, form: 'an image such as registry.example/gemlet:1' },
  model: {
    pattern: /^(s3:\/\/|https:\/\/|hf:)[\w.~%/@:+-]+$/,
    form: 's3://bucket/prefix, an https URL or hf:org/name',
  },
  'kv-store': { pattern: /^s3:\/\/[\w.~%/+-]+$/, form: 's3://bucket/prefix' },
  's3-endpoint': URL_FORM,
  project: { pattern: /^[a-z][a-z0-9:.-]+$/, form: 'the id of a Google Cloud project' },
  region: { pattern: /^[A-Za-z][A-Za-z0-9-]+$/, form: 'a region of the platform' },
  bucket: { pattern: /^[\w.-]+$/, form: 'the name of an S3 bucket for artifacts' },
  secret: { pattern: /^[\w.-]+$/, form: 'the name of a Modal secret' },
  cpu: { pattern: /^[1-9]\d?$/, form: 'a whole number of CPUs' },
  memory: { pattern: /^[1-9]\d{0,3}Gi$/, form: 'a size such as 32Gi' },
  tool: { pattern: /^(gcloud|terraform)$/, form: 'gcloud or terraform' },
  's3-region': {
    pattern: /^[a-z][a-z0-9-]+$/,
    form: 'the region of the store, such as eu-central-1',
  },
  bundle: {
    pattern: /^(s3|https):\/\/[\w.~%/@:+-]+$/,
    form: 's3://bucket/prefix or an https URL',
  },
  'model-id': { pattern: /^[\w.\-/]+$/, form: 'what clients call the model' },
  context: { pattern: /^[1-9]\d{1,6}$/, form: 'a number of tokens' },
  affinity: {
    pattern: /^(pool|runpod|modal|baseten|cookie)$/,
    form: 'pool, runpod, modal, baseten or cookie',
  },
  'replica-header-secret': SECRET_NAME,
  upstream: URL_FORM,
  'upstream-kind': {
    pattern: /^(auto|vllm|sglang|llama\.cpp|tgi|openai|gemlet)$/,
    form: 'auto, vllm, sglang, llama.cpp, tgi, openai or gemlet',
  },
  'upstream-model': { pattern: /^[\w.\-/:]+$/, form: "the server's own name of the model" },
  'upstream-key-secret': SECRET_NAME,
  concurrency: { pattern: /^[1-9]\d{0,3}$/, form: 'a whole number of requests' },
  timeout: {
    pattern: /^([1-9]\d?|[1-8]\d\d|900)$/,
    form: 'a whole number of seconds, at most 900',
  },
};
/** Of bundles: a Worker looks into its own bucket. */
const FOLDER: Form = {
  pattern: /^[\w-][\w.-]*(\/[\w-][\w.-]*)*$/,
  form: 'a folder of the bucket, such as gemma-3-27b',
};
const NAME: Form = {
  pattern: /^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$/,
  form: 'up to 40 small letters, digits and hyphens, a letter first',
};

const REPLICA = ['image', 'model', 'kv-store', 'gpu', 'slots', 'max', 'fleet', 'region'] as const;
/** What each platform has a use for; anything else is a mistake that should not pass silently. */
const ALLOWED: Readonly<Record<Platform, readonly string[]>> = {
  docker: ['image', 'gpu', 'push'],
  cloudrun: [...REPLICA, 'project', 'cpu', 'memory', 's3-endpoint', 'public', 'tool'],
  runpod: [...REPLICA, 's3-endpoint', 's3-region'],
  modal: [...REPLICA, 'secret'],
  aws: [
    'region',
    'bucket',
    'replica',
    'affinity',
    'replica-header-secret',
    'bundle',
    'model-id',
    'context',
    'concurrency',
    'timeout',
    'upstream',
    'upstream-kind',
    'upstream-model',
    'upstream-key-secret',
  ],
  cloudflare: ['replica', 'affinity', 'bucket', 'bundle', 'model-id', 'context'],
};
const SWITCHES: ReadonlySet<string> = new Set(['fleet', 'public', 'push']);

const GPUS: Readonly<Record<Platform, Form>> = {
  docker: { pattern: /^(none|cuda)$/, form: 'none or cuda' },
  cloudrun: { pattern: /^(none|l4|rtx-pro-6000)$/, form: 'none, l4 or rtx-pro-6000' },
  runpod: { pattern: /^(none|[A-Z][A-Z0-9_]+)$/, form: 'none or a pool such as ADA_24' },
  modal: { pattern: /^(none|[A-Z][\w-]+)$/, form: 'none or a type such as L4' },
  aws: { pattern: /^none$/, form: 'none' },
  cloudflare: { pattern: /^none$/, form: 'none' },
};

/** @throws UsageError */
export function parseDeployOptions(args: readonly string[]): DeployOptions {
  const [word, ...rest] = args;
  const platform = PLATFORMS.find((item) => item === word);
  if (platform === undefined) {
    const what = word === undefined ? 'Say where to' : `There is no platform "${word}"`;
    throw new UsageError(`${what}: gemlet deploy <${PLATFORMS.join('|')}>.`);
  }
  const allowed = ALLOWED[platform];
  // No environment: what is set for servers on this machine is not meant for another.
  const given = readOptions(
    rest,
    {},
    {
      texts: ['name', ...allowed.filter((flag) => !SWITCHES.has(flag) && flag !== 'replica')],
      lists: allowed.filter((flag) => flag === 'replica'),
      switches: ['dry-run', ...allowed.filter((flag) => SWITCHES.has(flag))],
    },
  );
  if (given.positionals.length > 0) {
    throw new UsageError(`"${given.positionals[0]}" is one argument too many.`);
  }
  const get = (option: TextOption): string | null =>
    check(`--${option}`, given.text(option), formOf(platform, option)) ?? null;
  for (const option of Object.keys(FORMS) as TextOption[]) get(option);
  const replicas = given.list('replica').flatMap((urls) => urls.split(','));
  for (const url of replicas) check('--replica', url, URL_FORM);
  return {
    platform,
    isDryRun: given.isOn('dry-run') ?? false,
    name: check('--name', given.text('name'), NAME) ?? 'gemlet',
    gpu: check('--gpu', given.text('gpu'), GPUS[platform]) ?? 'none',
    slots: given.number('slots', 1, 250) ?? 4,
    max: given.number('max', 1, 1000) ?? 3,
    isFleet: given.isOn('fleet') ?? false,
    isPublic: given.isOn('public') ?? false,
    pushes: given.isOn('push') ?? false,
    replicas,
    get,
    need(option) {
      const value = get(option);
      if (value !== null) return value;
      throw new UsageError(`gemlet deploy ${platform} needs --${option}: ${FORMS[option].form}.`);
    },
  };
}

/** @throws UsageError */
export function needReplicas({ platform, replicas }: DeployOptions): string {
  if (replicas.length > 0) return replicas.join(',');
  throw new UsageError(`gemlet deploy ${platform} needs --replica: the URL of a replica.`);
}

function formOf(platform: Platform, option: TextOption): Form {
  return platform === 'cloudflare' && option === 'bundle' ? FOLDER : FORMS[option];
}

function check(
  name: string,
  value: string | undefined,
  { pattern, form }: Form,
): string | undefined {
  if (value === undefined || pattern.test(value)) return value;
  throw new UsageError(`${name} must be ${form}, not "${value}".`);
}
