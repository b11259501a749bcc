/** Every bound on what one caller may cost: the one table of defaults, options and their documentation. */

export interface Bound {
  readonly unit: 'bytes' | 'seconds' | 'count';
  readonly default: number;
  readonly min: number;
  readonly max: number;
  /** Option of `gemlet serve` and `gemlet gateway`; null where only programs set it. */
  readonly option: string | null;
  /** What is bounded. */
  readonly about: string;
}

export type BoundName =
  | 'maxBodyBytes'
  | 'maxTextBytes'
  | 'maxJsonDepth'
  | 'maxJsonValues'
  | 'maxJsonStrings'
  | 'maxMessages'
  | 'maxParts'
  | 'maxImages'
  | 'maxPrompts'
  | 'maxChoices'
  | 'maxBodiesBytes'
  | 'maxJobs'
  | 'maxTenantJobs'
  | 'maxJobBytes'
  | 'maxTenantJobBytes'
  | 'requestTimeoutMs'
  | 'bodyTimeoutMs'
  | 'maxConnections';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const DAY = 86_400;
const MANY = 2 ** 24;
const MOST = 2 ** 40;

/** Defaults leave room for honest use: a prompt of 128K token ids, 64 photographs, batches of requests. */
export const BOUNDS: Readonly<Record<BoundName, Bound>> = {
  maxBodyBytes: bytes(32 * MIB, 1024, GIB, 'max-body', 'a request body'),
  maxTextBytes: bytes(8 * MIB, 1024, GIB, 'max-text', 'a body beside pictures as data: URLs'),
  maxJsonDepth: count(64, 8, 1024, null, 'arrays and objects inside each other in a body'),
  maxJsonValues: count(2 ** 18, 1024, MANY, 'max-json-values', 'values of all kinds in a body'),
  maxJsonStrings: count(2 ** 16, 1024, MANY, 'max-json-strings', 'strings and keys in a body'),
  maxMessages: count(8192, 1, MANY, null, 'messages of a request'),
  maxParts: count(8192, 1, MANY, null, 'parts of all messages of a request'),
  maxImages: count(128, 0, MANY, null, 'pictures of a request'),
  maxPrompts: count(1024, 1, MANY, null, 'prompts of a text completion request'),
  maxChoices: count(1024, 1, MANY, null, 'prompts of a request times n'),
  maxBodiesBytes: bytes(
    256 * MIB,
    MIB,
    MOST,
    'body-memory',
    'bodies of all requests under way; a key gets half',
  ),
  maxJobs: count(1024, 1, MANY, 'max-jobs', 'jobs and answers of jobs; a key gets a quarter'),
  maxTenantJobs: count(64, 1, MANY, 'max-key-jobs', 'jobs of a key that are not over'),
  maxJobBytes: bytes(
    256 * MIB,
    MIB,
    MOST,
    'job-memory',
    'requests of jobs, and answers that are kept',
  ),
  maxTenantJobBytes: bytes(64 * MIB, MIB, MOST, 'key-job-memory', 'the same of one key'),
  requestTimeoutMs: seconds(3600, 1, DAY, 'request-timeout', 'one answer, waiting included'),
  bodyTimeoutMs: seconds(300, 1, DAY, 'body-timeout', 'time that a request may take to arrive'),
  maxConnections: count(4096, 1, MANY, 'max-connections', 'connections; more are closed at once'),
};

/** As options of programs are: seconds in milliseconds. */
export function defaultOf(name: BoundName): number {
  const { unit, default: value } = BOUNDS[name];
  return unit === 'seconds' ? value * 1000 : value;
}

function bytes(value: number, min: number, max: number, option: string, about: string): Bound {
  return { unit: 'bytes', default: value, min, max, option, about };
}

function seconds(value: number, min: number, max: number, option: string, about: string): Bound {
  return { unit: 'seconds', default: value, min, max, option, about };
}

function count(
  value: number,
  min: number,
  max: number,
  option: string | null,
  about: string,
): Bound {
  return { unit: 'count', default: value, min, max, option, about };
}
