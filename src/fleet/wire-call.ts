import * as z from 'zod/mini';
import type { PreparedPrompt, PromptImage, SamplingParams } from '../engine/engine.ts';
import { ServeError } from '../errors.ts';
import { fromBase64, toBase64 } from '../lib/base64.ts';

/**
 * A prepared prompt on its way to a replica:
 *
 *     u32 little-endian   bytes of the header
 *     header              JSON, see {@link WireHeader}
 *     blobs               pixels and files of pictures, in the order of `header.blobs`
 *
 * The signature covers the header, which names every blob by its SHA-256.
 */
export interface WireCall {
  /** Drawn by the gateway, one an attempt: what it cancels by. */
  readonly id: string;
  /** Of the model it was prepared for; null is not compared. */
  readonly fingerprint: string | null;
  /** Images in the prompt may have no pixels: they are among the blobs, or the replica's already. */
  readonly prompt: PreparedPrompt;
  readonly params: SamplingParams;
  readonly blobs: readonly WireBlob[];
}

export interface WireBlob {
  readonly sha256: string;
  readonly sizeBytes: number;
}

const WIRE_VERSION = 1;
export const LENGTH_BYTES = 4;
/** 128K tokens and their parameters are below 2 MB. */
export const MAX_HEADER_BYTES: number = 16 * 1024 * 1024;
const MAX_BLOBS = 1024;
const MAX_BLOB_BYTES = 64 * 1024 * 1024;

const NO_PIXELS = new Uint8Array(0);

const id = z.int().check(z.gte(0), z.lte(2 ** 31 - 1));
const hash = z.string().check(z.regex(/^[0-9a-f]{64}$/));
const between = (least: number, most: number): z.ZodMiniNumber<number> =>
  z.number().check(z.gte(least), z.lte(most));
const name = z.string().check(z.maxLength(1_024));
const span = z.object({ start: id, end: id });
const logitBias = z.array(z.tuple([id, between(-100, 100)])).check(z.maxLength(1_024));
const stop = z
  .string()
  .check(z.minLength(1), z.maxLength(8_192), z.regex(/^[A-Za-z0-9+/]+={0,2}$/))
  .check(z.refine((text) => text.length % 4 === 0));
const topCount = z.nullable(z.int().check(z.gte(0), z.lte(20)));

const schema = z.object({
  version: z.literal(WIRE_VERSION),
  id: z.string().check(z.regex(/^[\w-]{1,64}$/)),
  fingerprint: z.nullable(name),
  tokens: z.array(id),
  answer: z.nullable(z.array(id)),
  spans: z.array(span),
  scope: name,
  tenant: name,
  session: z.nullable(z.object({ tenant: name, id: name, turn: name })),
  images: z.array(
    z.object({
      position: id,
      sha256: hash,
      original: z.nullable(
        z.object({ fileSha256: hash, panAndScan: z.boolean(), view: id, viewCount: id }),
      ),
    }),
  ),
  params: z.object({
    maxTokens: id,
    temperature: between(0, 2),
    topK: id,
    topP: between(0, 1),
    minP: between(0, 1),
    repetitionPenalty: z.number().check(z.gte(0.01), z.lte(10)),
    presencePenalty: between(-2, 2),
    frequencyPenalty: between(-2, 2),
    logitBias,
    seed: z.int().check(z.gte(0), z.lte(2 ** 32 - 1)),
    stop: z.array(stop).check(z.maxLength(64)),
    stopIds: z.array(id).check(z.maxLength(1_024)),
    allowedIds: z.nullable(z.array(id)),
    minTokens: id,
    ignoreEos: z.boolean(),
    includesStop: z.boolean(),
    logprobs: topCount,
    promptLogprobs: topCount,
  }),
  blobs: z
    .array(z.object({ sha256: hash, sizeBytes: z.int().check(z.gte(0), z.lte(MAX_BLOB_BYTES)) }))
    .check(z.maxLength(MAX_BLOBS)),
});

type WireHeader = z.infer<typeof schema>;

/** @returns the length and the header; the blobs follow */
export function encodeCall(call: WireCall): Uint8Array<ArrayBuffer> {
  const { prompt, params } = call;
  const header: WireHeader = {
    version: WIRE_VERSION,
    id: call.id,
    fingerprint: call.fingerprint,
    tokens: Array.from(prompt.tokens),
    answer: prompt.answer === undefined ? null : Array.from(prompt.answer),
    spans: prompt.assistantSpans.map(({ start, end }) => ({ start, end })),
    scope: prompt.scope,
    tenant: prompt.tenant ?? '',
    session: prompt.session ?? null,
    images: prompt.images.map(({ position, image: { sha256, original } }) => ({
      position,
      sha256,
      original:
        original === undefined
          ? null
          : {
              fileSha256: original.fileSha256,
              panAndScan: original.panAndScan,
              view: original.view,
              viewCount: original.viewCount,
            },
    })),
    params: {
      ...params,
      logitBias: Array.from(params.logitBias),
      stop: params.stop.map(toBase64),
      stopIds: [...params.stopIds],
      allowedIds: params.allowedIds === null ? null : [...params.allowedIds],
    },
    blobs: call.blobs.map(({ sha256, sizeBytes }) => ({ sha256, sizeBytes })),
  };
  const json = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(LENGTH_BYTES + json.length);
  new DataView(bytes.buffer).setUint32(0, json.length, true);
  bytes.set(json, LENGTH_BYTES);
  return bytes;
}

/**
 * @param json the header, without its length
 * @throws ServeError invalid_request
 */
export function parseCall(json: Uint8Array): WireCall {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json));
  } catch (cause) {
    throw unknownCall('is no JSON', cause);
  }
  const result = schema.safeParse(value);
  if (!result.success) {
    const [issue] = result.error.issues;
    throw unknownCall(`has a wrong ${issue?.path.join('.') ?? 'form'}`, result.error);
  }
  const { prompt, params } = { prompt: result.data, params: result.data.params };
  return {
    id: prompt.id,
    fingerprint: prompt.fingerprint,
    prompt: {
      tokens: Int32Array.from(prompt.tokens),
      images: prompt.images.map(toImage),
      assistantSpans: prompt.spans,
      scope: prompt.scope,
      tenant: prompt.tenant,
      session: prompt.session,
      ...(prompt.answer === null ? {} : { answer: Int32Array.from(prompt.answer) }),
    },
    params: {
      ...params,
      logitBias: new Map(params.logitBias),
      stop: params.stop.map(fromBase64),
    },
    blobs: prompt.blobs,
  };
}

function toImage({ position, sha256, original }: WireHeader['images'][number]): PromptImage {
  const image = { rgb: NO_PIXELS, sha256 };
  if (original === null) return { position, image };
  return { position, image: { ...image, original: { ...original, file: NO_PIXELS } } };
}

function unknownCall(what: string, cause: unknown): ServeError {
  return new ServeError(
    'invalid_request',
    `The gateway's request ${what}: run the same version of gemlet on gateway and replica.`,
    { cause },
  );
}
