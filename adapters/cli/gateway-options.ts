import type { Affinity } from '../../src/fleet/affinity.ts';
import { createCookieAffinity } from '../../src/fleet/cookie.ts';
import { createHashedHeader } from '../../src/fleet/hashed-header.ts';
import { createPool } from '../../src/fleet/pool.ts';
import { createTokenEcho } from '../../src/fleet/token-echo.ts';
import { systemClock } from '../../src/lib/clock.ts';
import type { GatewayOptions } from '../node/create-gateway.ts';
import type { UpstreamOptions } from '../node/open-upstream.ts';
import { FLEET_KEY_FILE, fleetKeysOf } from './doors/door-options.ts';
import {
  imageUrls,
  SERVER_FLAGS,
  SERVER_LISTS,
  SERVER_SWITCHES,
  serverOptions,
  type ServerSettings,
} from './options.ts';
import { type Environment, type OptionReader, readOptions, UsageError } from './read-options.ts';

export interface GatewaySettings extends ServerSettings {
  readonly target:
    | { readonly type: 'fleet'; readonly gateway: GatewayOptions }
    | { readonly type: 'upstream'; readonly upstream: UpstreamOptions };
  /** For people: where requests go. */
  readonly addresses: readonly string[];
}

const KINDS = ['auto', 'vllm', 'sglang', 'llama.cpp', 'tgi', 'openai', 'gemlet'] as const;

const AFFINITIES = ['pool', 'runpod', 'modal', 'baseten', 'cookie'] as const;
/** How often the own replicas are asked how they are, in milliseconds. */
const POLL_MS = 2_000;

/** @throws UsageError; RangeError for addresses and keys that are none */
export function parseGatewayOptions(
  args: readonly string[],
  environment: Environment,
): GatewaySettings {
  const options = readOptions(args, environment, {
    texts: [
      ...SERVER_FLAGS,
      FLEET_KEY_FILE,
      'affinity',
      'bundle',
      'name',
      'context',
      'upstream',
      'upstream-key',
      'upstream-kind',
      'upstream-model',
      'upstream-session-header',
    ],
    lists: [...SERVER_LISTS, 'replica', 'fleet-key', 'replica-header', 'upstream-header'],
    switches: SERVER_SWITCHES,
    short: { port: 'p' },
  });
  const { positionals } = options;
  if (positionals.length > 0) throw new UsageError(`"${positionals[0]}" is one argument too many.`);
  const fleetKeys = fleetKeysOf(options);
  const common = serverOptions(options, environment, { fleetKeys, isReplica: false });
  const upstreamKey = options.text('upstream-key');
  const server = {
    ...common,
    secrets: [
      ...common.secrets,
      ...['replica-header', 'upstream-header']
        .flatMap((flag) => Object.values(headersOf(options, flag)))
        .flatMap((value) => [value, ...value.split(' ')]),
      ...(upstreamKey === undefined ? [] : [upstreamKey]),
    ],
  };
  const replicas = options.list('replica');
  const url = options.text('upstream');
  if (url !== undefined) {
    if (replicas.length > 0) throw new UsageError('Give --replica or --upstream, not both.');
    refuse(options, OF_FLEETS, '--upstream', 'replicas');
    return { ...server, target: upstreamOf(options, url, common.pictures), addresses: [url] };
  }
  refuse(options, OF_UPSTREAMS, '--replica', 'an --upstream');
  return {
    ...server,
    target: fleetOf(options, replicas, common.pictures, fleetKeys),
    addresses: replicas,
  };
}

/** What one target has and the other would silently do without. */
const OF_FLEETS = ['affinity', 'replica-header'] as const;
const OF_UPSTREAMS = [
  'upstream-key',
  'upstream-kind',
  'upstream-model',
  'upstream-header',
  'upstream-session-header',
] as const;

function refuse(
  options: OptionReader,
  flags: readonly string[],
  target: string,
  wanted: string,
): void {
  for (const flag of flags) {
    if (options.list(flag).length === 0) continue;
    const other = flag === 'replica-header' ? ' Use --upstream-header.' : '';
    throw new UsageError(`--${flag} is for ${wanted}, it does nothing with ${target}.${other}`);
  }
}

function fleetOf(
  options: OptionReader,
  replicas: readonly string[],
  pictures: ServerSettings['pictures'],
  keys: readonly string[],
): Extract<GatewaySettings['target'], { type: 'fleet' }> {
  if (replicas.length === 0) {
    throw new UsageError(
      'Say where requests go: gemlet gateway --replica http://host:8787, or --upstream.',
    );
  }
  if (keys.length === 0) {
    throw new UsageError(
      'Say which key the replicas were started with: --fleet-key, --fleet-key-file or GEMLET_FLEET_KEY.',
    );
  }
  const kind = options.choice('affinity', AFFINITIES) ?? 'pool';
  const headers = headersOf(options, 'replica-header');
  const gateway: GatewayOptions = {
    affinity: affinityOf(kind, replicas, headers),
    keys,
    // Platforms that scale to zero are asked only when somebody wants an answer.
    pollMs: kind === 'pool' ? POLL_MS : null,
    ...bundleOf(options),
    ...(pictures === null ? {} : { pictures }),
    ...urlsOf(options),
  };
  return { type: 'fleet', gateway };
}

function upstreamOf(
  options: OptionReader,
  baseUrl: string,
  pictures: ServerSettings['pictures'],
): Extract<GatewaySettings['target'], { type: 'upstream' }> {
  const apiKey = options.text('upstream-key');
  const kind = options.choice('upstream-kind', KINDS);
  const model = options.text('upstream-model');
  const headers = headersOf(options, 'upstream-header');
  const sessionHeader = options.text('upstream-session-header');
  if (sessionHeader !== undefined) checkHeader('upstream-session-header', sessionHeader, 'value');
  const bundle = options.text('bundle');
  const id = options.text('name');
  const contextTokens = contextOf(options);
  const upstream: UpstreamOptions = {
    baseUrl,
    ...(apiKey === undefined ? {} : { apiKey }),
    ...(kind === undefined ? {} : { kind }),
    ...(model === undefined ? {} : { model }),
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
    ...(sessionHeader === undefined ? {} : { sessionHeader }),
    ...(bundle === undefined ? {} : { bundle }),
    ...urlsOf(options),
    ...(id === undefined ? {} : { id }),
    ...(contextTokens === undefined ? {} : { contextTokens }),
    ...(pictures === null ? {} : { pictures }),
  };
  return { type: 'upstream', upstream };
}

function urlsOf(options: OptionReader): Pick<GatewayOptions, 'imageUrls'> {
  const urls = imageUrls(options);
  return urls === undefined ? {} : { imageUrls: urls };
}

function bundleOf(options: OptionReader): Pick<GatewayOptions, 'bundle'> {
  const where = options.text('bundle');
  if (where === undefined) return {};
  const id = options.text('name');
  const contextTokens = contextOf(options);
  return {
    bundle: {
      where,
      ...(id === undefined ? {} : { id }),
      ...(contextTokens === undefined ? {} : { contextTokens }),
    },
  };
}

function affinityOf(
  kind: (typeof AFFINITIES)[number],
  replicas: readonly string[],
  headers: Readonly<Record<string, string>>,
): Affinity {
  if (kind === 'pool') return createPool({ replicas, headers, clock: systemClock });
  const [url = '', extra] = replicas;
  if (extra !== undefined) {
    throw new UsageError(`--affinity ${kind} has one address, that of its load balancer.`);
  }
  switch (kind) {
    case 'runpod':
      return createTokenEcho({ url, headers });
    case 'modal':
      return createHashedHeader({ url, headers, header: 'modal-session-id' });
    case 'baseten':
      return createHashedHeader({ url, headers, header: 'x-baseten-session-id' });
    case 'cookie':
      return createCookieAffinity({ url, headers, clock: systemClock });
    default:
      return kind satisfies never;
  }
}

function contextOf(options: OptionReader): number | undefined {
  return options.number('context', 2, Number.MAX_SAFE_INTEGER);
}

function headersOf(options: OptionReader, flag: string): Readonly<Record<string, string>> {
  return Object.fromEntries(
    options.list(flag).map((text) => {
      const at = text.indexOf(':');
      const [name, value] = [text.slice(0, at).trim(), text.slice(at + 1).trim()];
      checkHeader(flag, at < 1 ? '' : name, value);
      return [name, value] as const;
    }),
  );
}

/** The value may be a secret: it is not shown. */
function checkHeader(flag: string, name: string, value: string): void {
  try {
    new Headers().set(name, value);
  } catch {
    const form = flag.endsWith('session-header') ? 'the name of a header' : '"name: value"';
    throw new UsageError(`--${flag} must be ${form}.`);
  }
}
