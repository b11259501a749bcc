import { checkFleetKeys } from '../../../src/fleet/signing.ts';
import { isHashedKey } from '../../../src/http/doors/key-check.ts';
import type { RateLimits } from '../../../src/http/doors/rate-limits.ts';
import { type Environment, type OptionReader, UsageError } from '../read-options.ts';
import { checkKeyList, readKeyFile } from './key-file.ts';

/** Keys from options and, beside them, from a file. */
export interface KeySource {
  readonly given: readonly string[];
  /** Read again when it changes; null where there is none. */
  readonly file: string | null;
}

/** Who may come, and how often. */
export interface DoorSettings {
  /** As they are at the start, those of the file with them; empty: see `isOpen`. */
  readonly apiKeys: readonly string[];
  readonly metricsKeys: readonly string[];
  readonly keySources: { readonly api: KeySource; readonly metrics: KeySource };
  /** Whether other machines can connect. */
  readonly isPublic: boolean;
  /** Without API keys: whether everyone is let in, or gateways alone. */
  readonly isOpen: boolean;
  readonly allowedHosts: readonly string[];
  readonly rates: RateLimits;
  /** null leaves the app's default. */
  readonly wrongKeysPerMinute: number | null;
  readonly proxies: number;
}

export const DOOR_FLAGS: readonly string[] = [
  'api-key-file',
  'metrics-key-file',
  'rate-requests',
  'rate-tokens',
  'wrong-keys',
  'proxies',
];
export const DOOR_LISTS: readonly string[] = ['api-key', 'metrics-key', 'allow-host'];
export const DOOR_SWITCHES: readonly string[] = ['allow-anyone'];
/** Of everything that has fleet keys. */
export const FLEET_KEY_FILE = 'fleet-key-file';

const MAX_PROXIES = 10;

/**
 * Everything that other machines reach asks for a key, unless it is told to let anyone in.
 * @param isReplica whether gateways reach it without clients' keys
 * @throws UsageError
 */
export function doorOptions(
  options: OptionReader,
  environment: Environment,
  host: string,
  isReplica: boolean,
): DoorSettings {
  const isPublic = !isLoopback(host);
  const api = readKeys('api-key');
  const metrics = readKeys('metrics-key');
  const allowsAnyone = options.isOn('allow-anyone') ?? false;
  if (isPublic && api.keys.length === 0 && !allowsAnyone && !isReplica) {
    throw new UsageError(
      `Other machines can connect to ${host}, and anyone there could use the model: set --api-key or --api-key-file, or say --allow-anyone.`,
    );
  }
  return {
    apiKeys: api.keys,
    metricsKeys: metrics.keys,
    keySources: { api: api.source, metrics: metrics.source },
    isPublic,
    isOpen: api.keys.length === 0 && (allowsAnyone || !isPublic),
    allowedHosts: options.list('allow-host').map(checkHost),
    rates: {
      requestsPerMinute: options.number('rate-requests', 1, Number.MAX_SAFE_INTEGER) ?? null,
      tokensPerMinute: options.number('rate-tokens', 1, Number.MAX_SAFE_INTEGER) ?? null,
    },
    wrongKeysPerMinute: wrongKeys(options.number('wrong-keys', 0, Number.MAX_SAFE_INTEGER)),
    proxies: options.number('proxies', 0, MAX_PROXIES) ?? 0,
  };

  function readKeys(flag: string): { keys: readonly string[]; source: KeySource } {
    refuseEmpty(environment, flag, options.list(flag));
    const given = options.list(flag);
    const file = fileOf(options, environment, `${flag}-file`);
    const read = file === null ? [] : readKeyFile(file);
    checkKeyList(given, `--${flag}`, isPublic);
    checkKeyList(read, `--${flag}-file`, isPublic);
    return { keys: [...given, ...read], source: { given, file } };
  }
}

/**
 * Keys that gateways and replicas share, the newest first: those of options before those of the file.
 * @throws UsageError; RangeError for keys that are too short
 */
export function fleetKeysOf(options: OptionReader): readonly string[] {
  const given = options.list('fleet-key');
  // An empty variable is as if it were not there: what has no fleet key lets fewer in.
  const file = options.text(FLEET_KEY_FILE) ?? null;
  const keys = [...given, ...(file === null ? [] : readKeyFile(file))];
  if (keys.some(isHashedKey)) {
    throw new UsageError('Fleet keys sign, which digests cannot: give the keys themselves.');
  }
  if (keys.length > 0) checkFleetKeys(keys);
  return keys;
}

/** A secret that is there and empty is a mistake, which must not mean "no key". */
function refuseEmpty(environment: Environment, flag: string, given: readonly string[]): void {
  const variable = `GEMLET_${flag.toUpperCase().replaceAll('-', '_')}`;
  if (given.length > 0 || environment[variable]?.trim() !== '') return;
  throw new UsageError(`${variable} is empty: put a key there, or unset it.`);
}

function fileOf(options: OptionReader, environment: Environment, flag: string): string | null {
  const path = options.text(flag);
  refuseEmpty(environment, flag, path === undefined ? [] : [path]);
  if (path === '') throw new UsageError(`--${flag} must not be empty.`);
  return path ?? null;
}

/** 0 is any. */
function wrongKeys(perMinute: number | undefined): number | null {
  return perMinute === 0 ? Number.POSITIVE_INFINITY : (perMinute ?? null);
}

/** @throws UsageError for what no name could equal */
function checkHost(name: string): string {
  if (/^(\*|(\*\.)?[^\s:/*]+)$/.test(name)) return name;
  throw new UsageError(
    `--allow-host must be a name such as gpu.lan or *.example.org, without a port, not "${name}".`,
  );
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}
