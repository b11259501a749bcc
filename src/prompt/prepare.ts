import type { PromptInput } from '../completer.ts';
import type { PreparedImage, PreparedPrompt, PromptImage, TokenSpan } from '../engine/engine.ts';
import { ServeError } from '../errors.ts';
import type { ModelConfig, VisionConfig } from '../model/config.ts';
import { findAssistantSpans } from './assistant-spans.ts';
import { renderChat, type TemplatePiece } from './chat-template.ts';
import { expandImage } from './image-expansion.ts';
import { loadImages, type LoadImage } from './load-images.ts';
import type { ImagePart } from './messages.ts';
import type { PromptSegment, Tokenizer } from './tokenizer.ts';

export interface PreparerOptions {
  readonly tokenizer: Tokenizer;
  readonly model: ModelConfig;
  /** Longest prompt plus completion, in tokens: what cannot fit is refused before work is done. */
  readonly contextTokens: number;
  readonly loadImage: LoadImage;
}

/** Turns what a client asked into what the engine computes on. */
export interface Preparer {
  /**
   * @throws ServeError invalid_request, invalid_image; what `loadImage` throws; the signal's reason
   *   on abort
   */
  prepare(input: PromptInput, signal?: AbortSignal): Promise<PromptWithCounts>;
}

/** A prompt for whoever asks: its scope is not known here. */
export interface PromptWithCounts extends Omit<PreparedPrompt, 'scope'> {
  /** Soft tokens of images among the tokens. */
  readonly imageTokens: number;
}

/** @throws ServeError invalid_checkpoint when tokenizer and model do not belong together */
export function createPreparer(options: PreparerOptions): Preparer {
  const { tokenizer, model, contextTokens, loadImage } = options;
  requireSameTokens(tokenizer, model);
  const validIds = Math.min(tokenizer.vocabSize, model.text.vocabSize);
  const vision = model.vision;

  async function prepareChat(
    input: Extract<PromptInput, { type: 'chat' }>,
    signal: AbortSignal | undefined,
  ): Promise<PromptWithCounts> {
    const pieces = renderChat(input.messages, input);
    const parts = pieces.flatMap((piece) => (piece.type === 'image' ? [piece.part] : []));
    requireRoom(
      pieces.reduce((sum, piece) => sum + (piece.type === 'text' ? piece.text.length : 0), 0),
      parts.length * (vision?.tokensPerImage ?? 0),
    );
    if (vision === null) {
      if (parts[0] !== undefined) throw refuseImage(parts[0]);
      const tokens = tokenizer.encodeSegments(toSegments(pieces, tokenizer, null, []));
      return finish(tokens, findAssistantSpans(pieces, tokens, tokenizer));
    }
    const loaded = await loadImages(parts, loadImage, vision, signal);
    const tokens = tokenizer.encodeSegments(toSegments(pieces, tokenizer, vision, loaded));
    const spans = findAssistantSpans(pieces, tokens, tokenizer);
    return { ...finish(tokens, spans), ...placeImages(tokens, loaded.flat(), vision) };
  }

  /** Tokenizing megabytes takes seconds, so what no tokenization could make fit ends here. */
  function requireRoom(characters: number, imageTokens: number): void {
    const least = imageTokens + Math.ceil(characters / tokenizer.longestTokenBytes);
    if (least <= contextTokens) return;
    throw new ServeError(
      'context_length_exceeded',
      `This model's maximum context length is ${contextTokens} tokens. However, ${characters} characters of text and ${imageTokens} image tokens make at least ${least}. Shorten the prompt.`,
    );
  }

  function checkIds(ids: readonly number[]): readonly number[] {
    for (const [index, id] of ids.entries()) {
      const param = `prompt[${index}]`;
      if (!Number.isInteger(id) || id < 0 || id >= validIds) {
        throw refuse(param, `is ${id}, ids go from 0 to ${validIds - 1}`);
      }
      if (id === vision?.imageTokenId) {
        throw refuse(param, `is the image token ${id}: send images in chat messages`);
      }
    }
    return ids;
  }

  return {
    async prepare(input, signal) {
      signal?.throwIfAborted();
      switch (input.type) {
        case 'chat':
          return prepareChat(input, signal);
        case 'text': {
          requireRoom(input.text.length, 0);
          const ids = tokenizer.encode(input.text);
          return finish(input.addBos ? [tokenizer.special.bos, ...ids] : ids);
        }
        case 'tokens':
          return finish(checkIds(input.ids));
        default:
          return input satisfies never;
      }
    },
  };
}

function finish(
  tokens: readonly number[],
  assistantSpans: readonly TokenSpan[] = [],
): PromptWithCounts {
  if (tokens.length === 0) throw refuse('prompt', 'is empty; it must hold at least one token');
  return { tokens: Int32Array.from(tokens), images: [], assistantSpans, imageTokens: 0 };
}

function toSegments(
  pieces: readonly TemplatePiece[],
  tokenizer: Tokenizer,
  vision: VisionConfig | null,
  loaded: readonly (readonly PreparedImage[])[],
): PromptSegment[] {
  const segments: PromptSegment[] = [];
  let image = 0;
  for (const piece of pieces) {
    if (piece.type === 'text') segments.push(piece);
    else if (piece.type === 'control') {
      segments.push({ type: 'control', id: tokenizer.special[piece.name] });
    } else if (vision !== null) {
      const viewCount = loaded[image++]?.length ?? 0;
      segments.push(...expandImage(viewCount, vision));
    }
  }
  return segments;
}

/** Images in order take the runs of soft tokens in order: no text can hold a soft token. */
function placeImages(
  tokens: readonly number[],
  images: readonly PreparedImage[],
  vision: VisionConfig,
): Pick<PromptWithCounts, 'images' | 'imageTokens'> {
  const placed: PromptImage[] = [];
  for (let at = 0; at < tokens.length; at++) {
    if (tokens[at] !== vision.imageTokenId) continue;
    const image = images[placed.length];
    if (image === undefined) throw new RangeError('more runs of image tokens than images');
    placed.push({ position: at, image });
    at += vision.tokensPerImage - 1;
  }
  return { images: placed, imageTokens: placed.length * vision.tokensPerImage };
}

function requireSameTokens(tokenizer: Tokenizer, model: ModelConfig): void {
  const { special } = tokenizer;
  requireSame('<bos>', special.bos, model.text.bosId);
  if (model.vision !== null) {
    requireSame('<start_of_image>', special.startOfImage, model.vision.beginImageId);
    requireSame('<end_of_image>', special.endOfImage, model.vision.endImageId);
    requireSame('<image_soft_token>', special.imageSoftToken, model.vision.imageTokenId);
  }
  // Text-only models have no row for the image token, which no text becomes.
  for (let id = model.text.vocabSize; id < tokenizer.vocabSize; id++) {
    if (special.all.has(id)) continue;
    throw new ServeError(
      'invalid_checkpoint',
      `The tokenizer has ${tokenizer.vocabSize} tokens, the model only rows for ` +
        `${model.text.vocabSize}: tokenizer.json and config.json are of different models.`,
    );
  }
}

function requireSame(name: string, tokenizerId: number | null, modelId: number): void {
  if (tokenizerId === modelId) return;
  throw new ServeError(
    'invalid_checkpoint',
    `${name} is ${tokenizerId ?? 'unknown'} in tokenizer.json and ${modelId} in config.json: ` +
      'take both from the same model.',
  );
}

function refuseImage(part: ImagePart): ServeError {
  return new ServeError('invalid_image', 'This model reads no images, only text.', {
    param: part.param,
  });
}

function refuse(param: string, what: string): ServeError {
  return new ServeError('invalid_request', `${param} ${what}.`, { param });
}
