import type { Completer, CompletionRequest, ModelCard } from '../../src/completer.ts';
import { ServeError } from '../../src/errors.ts';
import { checkByteLength, DEFAULT_IMAGE_LIMITS } from '../../src/image/sniff.ts';
import type { ObjectStore } from '../../src/weights/object-store.ts';
import { readJson } from '../../src/weights/read-json.ts';
import type { CaptionJob } from './caption-message.ts';

/** What a job came to, as it is written and sent. */
export interface CaptionResult {
  readonly image: string;
  /** Of the picture's version. */
  readonly etag: string;
  readonly model: string;
  readonly prompt: string;
  /** null where it failed for good. */
  readonly text: string | null;
  readonly error: { readonly code: string; readonly message: string } | null;
}

const MAX_TOKENS = 512;
/** Errors that another try would meet again. */
const FINAL: ReadonlySet<string> = new Set([
  'invalid_request',
  'invalid_image',
  'image_too_large',
  'context_length_exceeded',
]);

/**
 * Captions a picture and writes the result; what is there already for the same version of the picture
 * is not computed again.
 * @throws what may go well another time
 */
export async function caption(
  job: CaptionJob,
  completer: Completer,
  store: ObjectStore,
  signal: AbortSignal,
): Promise<CaptionResult> {
  const { image, prompt } = job;
  const card = await (completer.describe?.(signal) ?? completer.model);
  const info = await store.head(image, signal);
  const about = { image, etag: info?.etag ?? '', model: card.id, prompt };
  const before = (await readJson(store, job.result, signal)) as CaptionResult | undefined;
  if (before !== undefined && info !== null && isSame(before, about)) return before;
  let result: CaptionResult;
  try {
    if (info === null) throw new ServeError('invalid_image', 'There is no such picture.');
    checkByteLength(info.sizeBytes, DEFAULT_IMAGE_LIMITS);
    const bytes = new Uint8Array(info.sizeBytes);
    await store.read(image, 0, bytes, signal);
    const text = await textOf(completer, captionRequest(prompt, bytes, card), signal);
    result = { ...about, text, error: null };
  } catch (error) {
    signal.throwIfAborted();
    if (!ServeError.is(error) || !FINAL.has(error.code)) throw error;
    result = { ...about, text: null, error: { code: error.code, message: error.message } };
  }
  const json = new TextEncoder().encode(JSON.stringify(result));
  await store.write(job.result, json, { signal });
  return result;
}

function isSame(before: CaptionResult, about: Partial<CaptionResult>): boolean {
  return (['image', 'etag', 'model', 'prompt'] as const).every(
    (name) => before[name] === about[name],
  );
}

async function textOf(
  completer: Completer,
  request: CompletionRequest,
  signal: AbortSignal,
): Promise<string> {
  let text = '';
  for await (const event of completer.complete(request, signal)) {
    if (event.type === 'delta') text += event.text;
  }
  return text;
}

/** Always the same seed: a job that is done twice gives the same caption. */
function captionRequest(prompt: string, bytes: Uint8Array, card: ModelCard): CompletionRequest {
  const { temperature, topK, topP, minP, repetitionPenalty } = card.defaults;
  return {
    prompt: {
      type: 'chat',
      messages: [
        {
          role: 'user',
          parts: [
            { type: 'image', source: { type: 'bytes', bytes }, panAndScan: false, param: 'image' },
            { type: 'text', text: prompt },
          ],
        },
      ],
      strict: false,
      addGenerationPrompt: true,
      continueFinalMessage: false,
    },
    choiceCount: 1,
    scope: 'captions',
    tenant: 'captions',
    sessionId: null,
    sampling: {
      temperature,
      topK,
      topP,
      minP,
      repetitionPenalty,
      presencePenalty: 0,
      frequencyPenalty: 0,
      logitBias: new Map(),
      seed: 0,
      stop: [],
      stopIds: [],
      allowedIds: null,
      minTokens: 0,
      ignoreEos: false,
      includesStop: false,
      logprobs: null,
      promptLogprobs: null,
      maxTokens: Math.min(MAX_TOKENS, Math.floor(card.contextTokens / 2)),
    },
    returnTokenIds: false,
  };
}
