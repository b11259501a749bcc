import * as z from 'zod/mini';
import { ServeError } from '../../src/errors.ts';
import { baseUrl } from '../../src/fleet/base-url.ts';
import { parseImageUrls } from '../../src/image/image-urls.ts';
import { hostOf, type UrlPolicy } from '../../src/image/safe-url.ts';
import type { WorkerEnv } from './bindings.ts';
import { LOG_FORMATS, type LogFormat } from '../../src/log/format.ts';

/** How the platform of the replicas is told where a conversation goes. */
export type AffinityKind = (typeof AFFINITIES)[number];

const AFFINITIES = ['pool', 'runpod', 'modal', 'baseten', 'cookie'] as const;

/** The Worker's variables and secrets, checked. */
export interface WorkerSettings {
  /** Folder of the bundle in the bucket; '' for all of it. */
  readonly bundle: string;
  readonly modelId: string;
  readonly contextTokens: number;
  /** Base URLs of the replicas; exactly one where a platform's load balancer stands before them. */
  readonly replicas: readonly string[];
  readonly affinity: AffinityKind;
  /** Sent with every request to a replica, such as a platform's own key. */
  readonly replicaHeaders: Readonly<Record<string, string>>;
  readonly fleetKeys: readonly string[];
  /** null lets everyone in. */
  readonly apiKeys: readonly string[] | null;
  /** Web origins that may call from browsers, `'*'` for all. */
  readonly corsOrigins: '*' | readonly string[];
  /** Milliseconds after which an idle session is forgotten. */
  readonly sessionIdleMs: number;
  /** Which https URLs of pictures are fetched, none of replicas; null: none at all. */
  readonly imageUrls: UrlPolicy | null;
  /** Longest body of a request. */
  readonly maxBodyBytes: number;
  /** Pixels above which pictures go to the replica as they are. */
  readonly maxDecodePixels: number;
  /** Folder that captions are written to. */
  readonly captionFolder: string;
  readonly captionPrompt: string;
  /** Signs callbacks; null signs none. */
  readonly webhookSecret: string | null;
  readonly log: LogFormat;
}

const text = z.string().check(z.minLength(1, 'must not be empty'));
const whole = (least: number, most: number): z.ZodMiniType<number> =>
  z
    .pipe(z.union([z.string(), z.number()]), z.transform(Number))
    .check(
      z.refine(
        (value) => Number.isInteger(value) && value >= least && value <= most,
        `must be a whole number from ${least} to ${most}`,
      ),
    );
const flag = z.pipe(
  z.enum(['true', 'false'], 'must be "true" or "false"'),
  z.transform((value) => value === 'true'),
);
/** Names separated by commas. */
const list = z.pipe(
  z.string('must be a list separated by commas'),
  z.transform((value) =>
    value
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== ''),
  ),
);
const replicas = list.check(
  z.refine((urls) => urls.length > 0 && urls.every(isBaseUrl), 'must be URLs such as https://host'),
);
const keys = list.check(
  z.refine((items) => items.length > 0, 'must hold at least one key'),
  z.refine((items) => items.every((key) => key.length >= 16), 'must be 16 characters or longer'),
);
const folder = z
  .string()
  .check(z.regex(/^([\w-][\w.-]*(\/[\w-][\w.-]*)*)?$/, 'must be a folder such as models/gemma'));
const webhookSecret = z
  .string()
  .check(
    z.refine(
      isWebhookSecret,
      'must be whsec_ and the base64 of 24 to 64 random bytes: echo "whsec_$(openssl rand -base64 32)"',
    ),
  );
const headers = z.pipe(
  z.string(),
  z.transform((value, context) => {
    try {
      const parsed = z.record(z.string(), z.string()).parse(JSON.parse(value));
      return Object.fromEntries(new Headers(parsed));
    } catch {
      context.issues.push({
        code: 'custom',
        message: 'must be a JSON object of header names and values',
        input: value,
      });
      return z.NEVER;
    }
  }),
);

const imageUrls = z.pipe(
  z.string(),
  z.transform((value, context) => {
    try {
      return parseImageUrls(value);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      context.issues.push({ code: 'custom', message, input: value });
      return z.NEVER;
    }
  }),
);

const schema = z.object({
  BUNDLE: z.optional(folder),
  MODEL_ID: text,
  CONTEXT_TOKENS: whole(1, 10_000_000),
  REPLICAS: replicas,
  AFFINITY: z.optional(z.enum(AFFINITIES, `must be one of ${AFFINITIES.join(', ')}`)),
  REPLICA_HEADERS: z.optional(headers),
  FLEET_KEYS: keys,
  API_KEYS: z.optional(keys),
  ALLOW_ANYONE: z.optional(flag),
  CORS_ORIGINS: z.optional(list),
  SESSION_IDLE_SECONDS: z.optional(whole(1, 30 * 86_400)),
  FETCH_IMAGE_URLS: z.optional(imageUrls),
  MAX_BODY_BYTES: z.optional(whole(1_000, 100_000_000)),
  MAX_DECODE_PIXELS: z.optional(whole(0, 40_000_000)),
  CAPTION_FOLDER: z.optional(folder.check(z.minLength(1))),
  CAPTION_PROMPT: z.optional(text),
  WEBHOOK_SECRET: z.optional(webhookSecret),
  LOG: z.optional(z.enum(LOG_FORMATS, `must be one of ${LOG_FORMATS.join(', ')}`)),
});

/**
 * Reads the environment.
 * @throws ServeError backend_unavailable that names the variable, never its value
 */
export function parseSettings(env: WorkerEnv): WorkerSettings {
  for (const binding of ['MODELS', 'SESSIONS']) {
    if (env[binding] === undefined) throw unusable(binding, 'is not bound');
  }
  // Variables that are there and empty are as if they were not.
  const filled = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const parsed = schema.safeParse(filled);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const name = String(issue?.path[0] ?? 'env');
    throw unusable(
      name,
      filled[name] === undefined ? 'is missing' : (issue?.message ?? 'is wrong'),
    );
  }
  const { data } = parsed;
  const {
    AFFINITY: affinity = 'pool',
    ALLOW_ANYONE: isOpen = false,
    CORS_ORIGINS: origins = [],
  } = data;
  if (data.API_KEYS === undefined && !isOpen) {
    throw unusable('API_KEYS', 'is missing, and ALLOW_ANYONE is not "true"');
  }
  if (affinity !== 'pool' && data.REPLICAS.length > 1) {
    throw unusable('REPLICAS', `must be one URL where AFFINITY is "${affinity}"`);
  }
  return {
    bundle: data.BUNDLE ?? '',
    modelId: data.MODEL_ID,
    contextTokens: data.CONTEXT_TOKENS,
    replicas: data.REPLICAS,
    affinity,
    replicaHeaders: data.REPLICA_HEADERS ?? {},
    fleetKeys: data.FLEET_KEYS,
    apiKeys: isOpen ? null : (data.API_KEYS ?? null),
    corsOrigins: origins.includes('*') ? '*' : origins,
    sessionIdleMs: (data.SESSION_IDLE_SECONDS ?? 3_600) * 1_000,
    imageUrls:
      data.FETCH_IMAGE_URLS === null
        ? null
        : { ...data.FETCH_IMAGE_URLS, denyHosts: data.REPLICAS.map((url) => hostOf(new URL(url))) },
    maxBodyBytes: data.MAX_BODY_BYTES ?? 12_000_000,
    maxDecodePixels: data.MAX_DECODE_PIXELS ?? 3_200_000,
    captionFolder: data.CAPTION_FOLDER ?? 'captions',
    captionPrompt: data.CAPTION_PROMPT ?? 'Describe this picture in one sentence.',
    webhookSecret: data.WEBHOOK_SECRET ?? null,
    log: data.LOG ?? 'json',
  };
}

/** As Standard Webhooks says; a secret that no key can be made of would fail at the first callback. */
function isWebhookSecret(secret: string): boolean {
  try {
    const bytes = atob(secret.replace(/^whsec_/, '')).length;
    return bytes >= 24 && bytes <= 64;
  } catch {
    return false;
  }
}

function isBaseUrl(url: string): boolean {
  try {
    baseUrl(url);
    return true;
  } catch {
    return false;
  }
}

function unusable(name: string, what: string): ServeError {
  return new ServeError(
    'backend_unavailable',
    `The Worker is not set up: ${name} ${what}. See wrangler.toml.`,
  );
}
