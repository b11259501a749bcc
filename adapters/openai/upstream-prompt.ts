import type { PromptInput } from '../../src/completer.ts';
import { ServeError } from '../../src/errors.ts';
import { isDataUri, parseDataUri } from '../../src/image/data-uri.ts';
import { withParam } from '../../src/image/image-error.ts';
import type { SafeFetch } from '../../src/image/safe-fetch.ts';
import { DEFAULT_IMAGE_LIMITS, readImageHeader } from '../../src/image/sniff.ts';
import { toBase64 } from '../../src/lib/base64.ts';
import { runBounded } from '../../src/lib/run-bounded.ts';
import type { ChatMessage, ImagePart } from '../../src/prompt/messages.ts';
import type { PromptWithCounts } from '../../src/prompt/prepare.ts';
import type { UpstreamKind, UpstreamPrompt } from './call.ts';

export type Prepare = (input: PromptInput, signal?: AbortSignal) => Promise<PromptWithCounts>;

/** How prompts are made ready to be sent. */
export interface PromptParts {
  /** null without a tokenizer. */
  readonly prepare: Prepare | null;
  /** Fetches pictures that clients name by URL; null refuses those. */
  readonly fetchUrl: SafeFetch | null;
  /** A picture as the model's vision tower takes it, as a PNG; null leaves that to the server. */
  readonly shapeImage: ShapeImage | null;
}

export type ShapeImage = (part: ImagePart, signal: AbortSignal) => Promise<Uint8Array>;

/** llama.cpp puts black bars beside pictures that are not square, which Gemma stretches. */
const SHAPES_OTHERWISE: ReadonlySet<UpstreamKind> = new Set(['llama.cpp']);

const TAKES_IDS: ReadonlySet<UpstreamKind> = new Set(['vllm', 'sglang', 'llama.cpp']);
/** Pictures fetched at once. */
const FETCHES = 4;

/**
 * Chooses how a prompt is sent. Our ids keep our template, and text that spells a control token stays
 * text; a server that gets text or messages applies its own rules. Another gemlet gets what the client
 * sent, as it does all of that itself.
 * @throws ServeError as `prepare` and `fetchUrl` do; invalid_url where URLs are not fetched
 */
export async function toUpstreamPrompt(
  input: PromptInput,
  kind: UpstreamKind,
  { prepare, fetchUrl, shapeImage }: PromptParts,
  signal: AbortSignal | undefined,
): Promise<UpstreamPrompt> {
  if (input.type === 'tokens') return { type: 'ids', ids: input.ids };
  const images = input.type === 'chat' ? imagesOf(input.messages) : [];
  if (prepare !== null && TAKES_IDS.has(kind) && images.length === 0) {
    const { tokens } = await prepare(input, signal);
    return { type: 'ids', ids: Array.from(tokens) };
  }
  if (input.type === 'text' || images.length === 0) return input;
  const inlined = new Map<ImagePart, ImagePart>();
  await runBounded(
    images.length,
    FETCHES,
    async (index, shared) => {
      const part = images[index];
      if (part === undefined) return;
      const isShaped = shapeImage !== null && SHAPES_OTHERWISE.has(kind);
      const file = isShaped ? shapeImage(part, shared) : fileOf(part, fetchUrl, shared);
      inlined.set(part, await inlineImage(part, file));
    },
    signal,
  );
  const messages = input.messages.map((message) => ({
    ...message,
    parts: message.parts.map((part) =>
      part.type === 'image' ? (inlined.get(part) ?? part) : part,
    ),
  }));
  return { ...input, messages };
}

function imagesOf(messages: readonly ChatMessage[]): readonly ImagePart[] {
  return messages.flatMap(({ parts }) => parts).filter((part) => part.type === 'image');
}

/**
 * The picture's own file as a data URI, its format and size checked. A server that fetched the URLs of
 * users could be sent anywhere in its network.
 */
async function inlineImage(part: ImagePart, file: Promise<Uint8Array>): Promise<ImagePart> {
  try {
    const bytes = await file;
    const { format } = readImageHeader(bytes);
    const url = `data:image/${format};base64,${toBase64(bytes)}`;
    return { ...part, source: { type: 'url', url } };
  } catch (error) {
    throw withParam(error, part.param);
  }
}

async function fileOf(
  { source, param }: ImagePart,
  fetchUrl: SafeFetch | null,
  signal: AbortSignal,
): Promise<Uint8Array> {
  if (source.type === 'bytes') return source.bytes;
  if (isDataUri(source.url)) return parseDataUri(source.url, DEFAULT_IMAGE_LIMITS);
  if (fetchUrl !== null) return fetchUrl(source.url, { param, signal });
  throw new ServeError(
    'invalid_url',
    'Image URLs are not fetched here: send the image itself as a data URI, data:image/png;base64,...',
  );
}
