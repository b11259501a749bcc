import { parseArgs } from 'node:util';
import type { EngineOptions } from '../node/create-engine.ts';

/** What the person typed cannot be used; the message says what and why. */
export class UsageError extends Error {
  override readonly name: string = 'UsageError';
}

export interface ServeOptions {
  readonly engine: EngineOptions;
  readonly port: number;
  readonly host: string;
  readonly apiKeys: readonly string[];
  readonly corsOrigins: readonly string[];
  /** Load at once, or with the first request. */
  readonly load: 'eager' | 'lazy';
  /** Unload after this time without requests; null never. */
  readonly idleUnloadMs: number | null;
  /** How long answers that are no streams wait for the model; null leaves the app's default. */
  readonly holdMs: number | null;
  /** Path of the load balancer's probe; null has none. */
  readonly pingPath: string | null;
  /** Milliseconds from SIGTERM to the end. */
  readonly drainMs: number;
}

export interface InspectOptions {
  readonly model: string;
  readonly token: string | null;
  readonly isJson: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

const DEFAULT_PORT = 8787;
const MAX_PORT = 65_535;
const MAX_THREADS = 1024;
/** Cloud Run kills 10 s after SIGTERM. */
const DEFAULT_DRAIN_MS = 8_000;
/** Timers hold no more than 24 days. */
const MAX_SECONDS = 24 * 86_400;

/** @throws UsageError */
export function parseServeOptions(args: readonly string[], environment: Environment): ServeOptions {
  const { values, positionals } = parse(args, {
    model: { type: 'string', short: 'm' },
    name: { type: 'string' },
    port: { type: 'string', short: 'p' },
    host: { type: 'string' },
    'api-key': { type: 'string', multiple: true },
    cors: { type: 'string', multiple: true },
    precision: { type: 'string' },
    head: { type: 'string' },
    threads: { type: 'string' },
    context: { type: 'string' },
    slots: { type: 'string' },
    queue: { type: 'string' },
    'kv-budget': { type: 'string' },
    'drain-timeout': { type: 'string' },
    'kv-store': { type: 'string' },
    'kv-keep-days': { type: 'string' },
    'session-ttl': { type: 'string' },
    'session-quota': { type: 'string' },
    'session-count': { type: 'string' },
    'kv-restore': { type: 'string' },
    'prefill-budget': { type: 'string' },
    speculate: { type: 'boolean' },
    load: { type: 'string' },
    'idle-unload': { type: 'string' },
    hold: { type: 'string' },
    ping: { type: 'string' },
    'hf-token': { type: 'string' },
  });
  if (positionals.length > 1) throw new UsageError(`"${positionals[1]}" is one argument too many.`);
  /** A flag goes before its environment variable; empty variables count as absent. */
  const read = (
    flag: string,
    variable = `GEMLET_${flag.toUpperCase().replaceAll('-', '_')}`,
  ): string | undefined => {
    const given = values[flag];
    if (typeof given === 'string') return given;
    const fromEnvironment = environment[variable];
    return fromEnvironment === '' ? undefined : fromEnvironment;
  };
  const number = (flag: string, min: number, max: number): number | undefined =>
    wholeNumber(`--${flag}`, read(flag), min, max);
  const milliseconds = (flag: string, minSeconds: number): number | null => {
    const seconds = number(flag, minSeconds, MAX_SECONDS);
    return seconds === undefined ? null : seconds * 1000;
  };
  const list = (flag: string): string[] => {
    const given = values[flag];
    if (Array.isArray(given)) return given.map(String);
    const text = read(flag);
    return text === undefined ? [] : text.split(',').map((item) => item.trim());
  };
  const isOn = (flag: string): boolean | undefined =>
    values[flag] === true ? true : yesOrNo(flag, read(flag));
  const apiKeys = list('api-key');
  if (apiKeys.some((key) => key === '')) throw new UsageError('--api-key must not be empty.');

  const engine: EngineOptions = defined({
    model: read('model') ?? positionals[0],
    id: read('name'),
    token: read('hf-token', 'HF_TOKEN'),
    precision: choice('--precision', read('precision'), ['exact', 'fast']),
    head: choice('--head', read('head'), ['int8', 'int4', 'float']),
    threads: number('threads', 1, MAX_THREADS),
    contextTokens: number('context', 2, Number.MAX_SAFE_INTEGER),
    slots: number('slots', 1, Number.MAX_SAFE_INTEGER),
    maxWaiting: number('queue', 0, Number.MAX_SAFE_INTEGER),
    kvBudgetBytes: byteSize('--kv-budget', read('kv-budget')),
    kvStore: read('kv-store'),
    kvKeepDays: number('kv-keep-days', 1, 36_500),
    sessionTtlMs: milliseconds('session-ttl', 1) ?? undefined,
    sessionQuotaBytes: byteSize('--session-quota', read('session-quota')),
    sessionQuotaCount: number('session-count', 1, Number.MAX_SAFE_INTEGER),
    kvRestore: choice('--kv-restore', read('kv-restore'), ['faster', 'always']),
    prefillBudgetMs: number('prefill-budget', 1, Number.MAX_SAFE_INTEGER),
    speculates: isOn('speculate'),
  });
  return {
    engine,
    port:
      number('port', 0, MAX_PORT) ??
      wholeNumber('PORT', environment['PORT'], 0, MAX_PORT) ??
      DEFAULT_PORT,
    host: read('host') ?? '127.0.0.1',
    apiKeys,
    corsOrigins: list('cors'),
    load: choice('--load', read('load'), ['eager', 'lazy']) ?? 'eager',
    idleUnloadMs: milliseconds('idle-unload', 1),
    holdMs: milliseconds('hold', 0),
    pingPath: read('ping') ?? null,
    drainMs: milliseconds('drain-timeout', 1) ?? DEFAULT_DRAIN_MS,
  };
}

/** @throws UsageError */
export function parseInspectOptions(
  args: readonly string[],
  environment: Environment,
): InspectOptions {
  const { values, positionals } = parse(args, {
    json: { type: 'boolean' },
    'hf-token': { type: 'string' },
  });
  const [model, extra] = positionals;
  if (model === undefined) throw new UsageError('Say which model: gemlet inspect <folder or url>.');
  if (extra !== undefined) throw new UsageError(`"${extra}" is one argument too many.`);
  const token = values['hf-token'] ?? environment['HF_TOKEN'];
  return {
    model,
    token: typeof token === 'string' && token !== '' ? token : null,
    isJson: values['json'] === true,
  };
}

type Values = Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>;

function parse(
  args: readonly string[],
  options: NonNullable<Parameters<typeof parseArgs>[0]>['options'],
): { values: Values; positionals: readonly string[] } {
  try {
    return parseArgs({ args: [...args], options: options ?? {}, allowPositionals: true });
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

function wholeNumber(
  name: string,
  text: string | undefined,
  min: number,
  max: number,
): number | undefined {
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    const range = max === Number.MAX_SAFE_INTEGER ? `${min} or more` : `${min} to ${max}`;
    throw new UsageError(`${name} must be a whole number, ${range}, not "${text}".`);
  }
  return value;
}

const BYTE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
};

function byteSize(name: string, text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined;
  const [, amount, unit = ''] = /^(\d+(?:\.\d+)?) *([a-z]*)$/i.exec(text.trim()) ?? [];
  const factor = BYTE_UNITS[unit.toLowerCase()];
  if (amount === undefined || factor === undefined) {
    throw new UsageError(`${name} must be a size such as 512MB, 2GiB or 0, not "${text}".`);
  }
  return Math.floor(Number(amount) * factor);
}

function yesOrNo(flag: string, text: string | undefined): boolean | undefined {
  const variable = `GEMLET_${flag.toUpperCase()}`;
  const answer = choice(variable, text, ['1', '0', 'true', 'false']);
  return answer === undefined ? undefined : answer === '1' || answer === 'true';
}

function choice<T extends string>(
  name: string,
  text: string | undefined,
  allowed: readonly T[],
): T | undefined {
  if (text === undefined) return undefined;
  const found = allowed.find((item) => item === text);
  if (found === undefined) {
    throw new UsageError(`${name} must be ${allowed.join(', ')}, not "${text}".`);
  }
  return found;
}

/** Leaves out what is undefined: absent and undefined differ for the reader. */
function defined(options: {
  readonly [K in keyof EngineOptions]: EngineOptions[K] | undefined;
}): EngineOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
