import type { Completer, ModelCard } from '../../src/completer.ts';
import type { FleetModel } from '../../src/fleet/describe-model.ts';
import type { LoadImage } from '../../src/prompt/load-images.ts';
import { createImageLoader } from '../../src/image/load-image.ts';
import type { SafeFetch } from '../../src/image/safe-fetch.ts';
import type { ImageLimits } from '../../src/image/sniff.ts';
import { systemClock } from '../../src/lib/clock.ts';
import type { UrlPolicy } from '../../src/image/safe-url.ts';
import { createPreparer } from '../../src/prompt/prepare.ts';
import { createUpstreamCompleter, type UpstreamCompleterOptions } from '../openai/completer.ts';
import type { ShapeImage } from '../openai/upstream-prompt.ts';
import { DEFAULT_CONTEXT_TOKENS, describeBundle } from './describe-bundle.ts';
import { encodePng } from './encode-png.ts';
import {
  closingPictures,
  createPicturePool,
  type PicturePool,
  type PicturePoolOptions,
} from './pictures/pool.ts';
import { createNodeSafeFetch } from './safe-fetch.ts';

export interface UpstreamOptions extends Pick<
  UpstreamCompleterOptions,
  'baseUrl' | 'apiKey' | 'model' | 'kind' | 'headers' | 'sessionHeader' | 'onEvent'
> {
  /** What clients call the model; default: what the server calls it. */
  readonly id?: string;
  /** Longest prompt plus completion, in tokens; default: what the server says, else with a bundle 8192. */
  readonly contextTokens?: number;
  /** Folder, s3:// or https:// of a bundle of the same model, so that servers that take token ids get our template's; left out, messages. */
  readonly bundle?: string;
  /** What one picture may cost. */
  readonly pictures?: PicturePoolOptions;
  /** Which https URLs of pictures are fetched; default: any that are public; null none. */
  readonly imageUrls?: UrlPolicy | null;
  readonly signal?: AbortSignal;
}

/**
 * A completer over another OpenAI-compatible server: vLLM, SGLang, llama.cpp, TGI or gemlet itself.
 * @throws ServeError of the bundle: weights_unavailable, invalid_checkpoint, unsupported_model
 */
export async function openUpstream(options: UpstreamOptions): Promise<Completer> {
  const { bundle, id, contextTokens, pictures: cost, signal, imageUrls, ...upstream } = options;
  const fetchUrl = imageUrls === null ? null : createNodeSafeFetch(imageUrls);
  const card: Partial<ModelCard> = {
    ...(id === undefined ? {} : { id }),
    ...(contextTokens === undefined ? {} : { contextTokens }),
  };
  const common = { ...upstream, card, clock: systemClock, fetchUrl };
  if (bundle === undefined) return createUpstreamCompleter(common);
  const place = { where: bundle, contextTokens: contextTokens ?? Number.MAX_SAFE_INTEGER };
  const model = await describeBundle(place, signal);
  const { tokenizer } = model;
  const pictures = createPicturePool(cost);
  const loadImage = imageLoader(model, fetchUrl, pictures, cost?.limits);
  const preparer = createPreparer({
    tokenizer,
    model: model.config,
    // Of the model, unless one was given: the server refuses what is too long for it.
    contextTokens: model.card.contextTokens,
    loadImage,
  });
  const completer = createUpstreamCompleter({
    ...common,
    tokenizer,
    prepare: (input, promptSignal) => preparer.prepare(input, promptSignal),
    ...(model.image === null ? {} : { shapeImage: shaper(loadImage, model.image.imageSize) }),
    contextTokens: Math.min(DEFAULT_CONTEXT_TOKENS, model.card.contextTokens),
    defaults: model.card.defaults,
  });
  return closingPictures(completer, pictures);
}

/** The whole picture, without the crops of pan and scan: no server takes those. */
function shaper(loadImage: LoadImage, side: number): ShapeImage {
  return async (part, signal) => {
    const [whole] = await loadImage({ ...part, panAndScan: false }, signal);
    if (whole === undefined) throw new RangeError('the loader gave no picture');
    return encodePng(whole.rgb, side);
  };
}

function imageLoader(
  { image }: FleetModel,
  fetchUrl: SafeFetch | null,
  pictures: PicturePool,
  limits: ImageLimits | undefined,
): LoadImage {
  if (image === null) return async () => [];
  return createImageLoader({
    prepare: pictures.prepare,
    fetchUrl,
    config: image,
    ...(limits === undefined ? {} : { limits }),
  });
}
