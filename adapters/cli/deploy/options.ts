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
  | 'tool';

interface Form {
  readonly pattern: RegExp;
  /** What it is called where it is missed or wrong. */
  readonly form: string;
}

const URL_FORM: Form = { pattern: /^https?:\/\/[\w.~%/:[\]-]+$/, form: 'an https URL' };

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
  runpod: [...REPLICA, 's3-endpoint'],
  modal: [...REPLICA, 'secret'],
  aws: ['region', 'bucket', 'replica'],
  cloudflare: ['replica'],
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
    check(`--${option}`, given.text(option), FORMS[option]) ?? null;
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

function check(
  name: string,
  value: string | undefined,
  { pattern, form }: Form,
): string | undefined {
  if (value === undefined || pattern.test(value)) return value;
  throw new UsageError(`${name} must be ${form}, not "${value}".`);
}
