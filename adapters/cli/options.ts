import { LEAST_KEY_CHARACTERS } from '../../src/lib/keyed-hash.ts';
import { parseImageUrls } from '../../src/image/image-urls.ts';
import type { UrlPolicy } from '../../src/image/safe-url.ts';
import { LOG_FORMATS, type LogFormat } from '../../src/log/format.ts';
import { DEFAULT_IMAGE_LIMITS } from '../../src/image/sniff.ts';
import { BOUND_FLAGS, type GivenBounds, readBounds } from './bounds.ts';
import type { EngineOptions } from '../node/create-engine.ts';
import type { PicturePoolOptions } from '../node/pictures/pool.ts';
import {
  DOOR_FLAGS,
  DOOR_LISTS,
  DOOR_SWITCHES,
  doorOptions,
  type DoorSettings,
  FLEET_KEY_FILE,
  fleetKeysOf,
} from './doors/door-options.ts';
import {
  type Environment,
  type OptionReader,
  readOptions,
  UsageError,
  wholeNumber,
} from './read-options.ts';

export interface ServerSettings extends DoorSettings {
  readonly port: number;
  readonly host: string;
  readonly corsOrigins: readonly string[];
  /** Other names that clients may call the model by. */
  readonly aliases: readonly string[];
  /** They may call it anything. */
  readonly acceptsAnyModel: boolean;
  /** How long answers that are no streams wait for the model; null leaves the app's default. */
  readonly holdMs: number | null;
  /** Path of the load balancer's probe; null has none. */
  readonly pingPath: string | null;
  /** Milliseconds from SIGTERM to the end. */
  readonly drainMs: number;
  /** null: for people on a terminal, else JSON. */
  readonly log: LogFormat | null;
  /** Keys and tokens that must not stand in the log. */
  readonly secrets: readonly string[];
  /** Milliseconds after which a client that reads nothing is given up; null leaves the default. */
  readonly stallMs: number | null;
  /** What one picture may cost; null leaves the defaults. */
  readonly pictures: PicturePoolOptions | null;
  /** What was given of the bounds; the others have their defaults. */
  readonly bounds: GivenBounds;
}

export interface ServeOptions extends ServerSettings {
  readonly engine: EngineOptions;
  /** Shared with gateways; empty: it is no replica. */
  readonly fleetKeys: readonly string[];
  /** Load at once, or with the first request. */
  readonly load: 'eager' | 'lazy';
  /** Unload after this time without requests; null never. */
  readonly idleUnloadMs: number | null;
}

export interface InspectOptions {
  readonly model: string;
  readonly token: string | null;
  readonly isJson: boolean;
}

const DEFAULT_PORT = 8787;
const MAX_PORT = 65_535;
/** Of the environment, whoever reads them. */
const SECRET_VARIABLES = ['HF_TOKEN', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'] as const;
const MAX_THREADS = 1024;
/** 16,384 pixels a side. */
const MAX_MEGAPIXELS = 268;
/** Cloud Run kills 10 s after SIGTERM. */
const DEFAULT_DRAIN_MS = 8_000;

/** Flags of everything that listens, as `readOptions` takes them. */
export const SERVER_FLAGS: readonly string[] = [
  'port',
  'host',
  'hold',
  'ping',
  'drain-timeout',
  'log',
  'stall-timeout',
  'image-timeout',
  'image-megapixels',
  ...DOOR_FLAGS,
  ...BOUND_FLAGS,
  'image-urls',
];
export const SERVER_LISTS: readonly string[] = [...DOOR_LISTS, 'cors', 'alias'];
export const SERVER_SWITCHES: readonly string[] = [...DOOR_SWITCHES, 'any-model'];

const ENGINE_FLAGS = [
  'model',
  'name',
  'precision',
  'head',
  'threads',
  'context',
  'slots',
  'queue',
  'max-concurrent',
  'kv-budget',
  'kv-store',
  'kv-store-format',
  'kv-store-key',
  'kv-store-size',
  'kv-keep-days',
  'kv-restore',
  'session-ttl',
  'session-quota',
  'session-count',
  'prefill-budget',
  'hf-token',
];

/** @throws UsageError */
export function parseServeOptions(args: readonly string[], environment: Environment): ServeOptions {
  const options = readOptions(args, environment, {
    texts: [...SERVER_FLAGS, ...ENGINE_FLAGS, FLEET_KEY_FILE, 'load', 'idle-unload'],
    lists: [...SERVER_LISTS, 'fleet-key'],
    switches: [...SERVER_SWITCHES, 'speculate'],
    short: { model: 'm', port: 'p' },
  });
  const { positionals } = options;
  if (positionals.length > 1) throw new UsageError(`"${positionals[1]}" is one argument too many.`);
  const engine: EngineOptions = defined({
    model: options.text('model') ?? positionals[0],
    id: options.text('name'),
    token: options.text('hf-token', 'HF_TOKEN'),
    precision: options.choice('precision', ['exact', 'fast']),
    head: options.choice('head', ['int8', 'int4', 'float']),
    threads: options.number('threads', 1, MAX_THREADS),
    contextTokens: options.number('context', 2, Number.MAX_SAFE_INTEGER),
    slots: options.number('slots', 1, Number.MAX_SAFE_INTEGER),
    maxWaiting: options.number('queue', 0, Number.MAX_SAFE_INTEGER),
    stallMs: stallTimeout(options) ?? undefined,
    pictures: pictureCost(options),
    maxPerTenant: options.number('max-concurrent', 1, Number.MAX_SAFE_INTEGER),
    kvBudgetBytes: options.bytes('kv-budget'),
    kvStore: options.text('kv-store'),
    kvStoreKey: storeKey(options.text('kv-store-key')),
    kvStoreFormat: options.choice('kv-store-format', ['exact', 'int8']),
    kvStoreBytes: options.bytes('kv-store-size'),
    kvKeepDays: options.number('kv-keep-days', 0, 36_500),
    sessionTtlMs: options.milliseconds('session-ttl', 1) ?? undefined,
    sessionQuotaBytes: options.bytes('session-quota'),
    sessionQuotaCount: options.number('session-count', 1, Number.MAX_SAFE_INTEGER),
    kvRestore: options.choice('kv-restore', ['faster', 'always']),
    prefillBudgetMs: options.number('prefill-budget', 1, Number.MAX_SAFE_INTEGER),
    speculates: options.isOn('speculate'),
    imageUrls: imageUrls(options),
  });
  const fleetKeys = fleetKeysOf(options);
  const server = serverOptions(options, environment, {
    fleetKeys,
    isReplica: fleetKeys.length > 0,
  });
  return {
    engine,
    ...server,
    secrets: [
      ...server.secrets,
      ...[engine.token, engine.kvStoreKey].filter((secret) => secret !== undefined),
    ],
    fleetKeys,
    load: options.choice('load', ['eager', 'lazy']) ?? 'eager',
    idleUnloadMs: options.milliseconds('idle-unload', 1),
  };
}

function pictureCost(options: OptionReader): PicturePoolOptions | undefined {
  const deadlineMs = options.milliseconds('image-timeout', 1);
  const megapixels = options.number('image-megapixels', 1, MAX_MEGAPIXELS);
  if (deadlineMs === null && megapixels === undefined) return undefined;
  return {
    ...(deadlineMs === null ? {} : { deadlineMs }),
    ...(megapixels === undefined
      ? {}
      : { limits: { ...DEFAULT_IMAGE_LIMITS, maxPixels: megapixels * 1_000_000 } }),
  };
}

function storeKey(key: string | undefined): string | undefined {
  if (key === undefined || key.length >= LEAST_KEY_CHARACTERS) return key;
  throw new UsageError(
    `--kv-store-key must have ${LEAST_KEY_CHARACTERS} characters or more: openssl rand -hex 32 makes one.`,
  );
}

/** undefined leaves the default. @throws UsageError */
export function imageUrls(options: OptionReader): UrlPolicy | null | undefined {
  const text = options.text('image-urls');
  if (text === undefined) return undefined;
  try {
    return parseImageUrls(text);
  } catch (cause) {
    const how = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError(`--image-urls ${how}, not "${text}".`, { cause });
  }
}

/** 0 is never. */
function stallTimeout(options: OptionReader): number | null {
  const ms = options.milliseconds('stall-timeout', 0);
  return ms === 0 ? Number.POSITIVE_INFINITY : ms;
}

/**
 * Options of everything that listens.
 * @param fleet its keys, and whether gateways that have them may come
 * @throws UsageError
 */
export function serverOptions(
  options: OptionReader,
  environment: Environment,
  fleet: { readonly fleetKeys: readonly string[]; readonly isReplica: boolean },
): ServerSettings {
  const host = options.text('host') ?? '127.0.0.1';
  const doors = doorOptions(options, environment, host, fleet.isReplica);
  const aliases = options.list('alias');
  if (aliases.some((name) => name === '')) throw new UsageError('--alias must not be empty.');
  return {
    port:
      options.number('port', 0, MAX_PORT) ??
      wholeNumber('PORT', environment['PORT'], 0, MAX_PORT) ??
      DEFAULT_PORT,
    host,
    ...doors,
    corsOrigins: options.list('cors'),
    aliases,
    acceptsAnyModel: options.isOn('any-model') ?? false,
    holdMs: options.milliseconds('hold', 0),
    pingPath: options.text('ping') ?? null,
    drainMs: options.milliseconds('drain-timeout', 1) ?? DEFAULT_DRAIN_MS,
    log: options.choice('log', LOG_FORMATS) ?? null,
    secrets: [
      ...doors.apiKeys,
      ...doors.metricsKeys,
      ...fleet.fleetKeys,
      ...SECRET_VARIABLES.flatMap((name) => environment[name] ?? []),
    ],
    stallMs: stallTimeout(options),
    pictures: pictureCost(options) ?? null,
    bounds: readBounds(options),
  };
}

/** @throws UsageError */
export function parseInspectOptions(
  args: readonly string[],
  environment: Environment,
): InspectOptions {
  const options = readOptions(args, environment, { texts: ['hf-token'], switches: ['json'] });
  const [model, extra] = options.positionals;
  if (model === undefined) throw new UsageError('Say which model: gemlet inspect <folder or url>.');
  if (extra !== undefined) throw new UsageError(`"${extra}" is one argument too many.`);
  return {
    model,
    token: options.text('hf-token', 'HF_TOKEN') ?? null,
    isJson: options.isOn('json') ?? false,
  };
}

/** Leaves out what is undefined: absent and undefined differ for the reader. */
function defined(options: {
  readonly [K in keyof EngineOptions]: EngineOptions[K] | undefined;
}): EngineOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
