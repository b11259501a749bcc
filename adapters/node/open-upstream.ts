import type { Completer } from '../../src/completer.ts';
import type { FleetModel } from '../../src/fleet/describe-model.ts';
import { createImageLoader } from '../../src/image/load-image.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createPreparer } from '../../src/prompt/prepare.ts';
import { createUpstreamCompleter, type UpstreamCompleterOptions } from '../openai/completer.ts';
import { type BundlePlace, describeBundle } from './describe-bundle.ts';
import { createNodeImageDecoder } from './image-decoder.ts';
import { createNodeSafeFetch } from './safe-fetch.ts';

export interface UpstreamOptions extends Pick<
  UpstreamCompleterOptions,
  'baseUrl' | 'apiKey' | 'model' | 'kind' | 'onEvent'
> {
  /** A bundle of the same model, so that servers that take token ids get our template's; left out, messages. */
  readonly bundle?: BundlePlace;
  readonly signal?: AbortSignal;
}

/**
 * A completer over another OpenAI-compatible server: vLLM, SGLang, llama.cpp, TGI or gemlet itself.
 * @throws ServeError of the bundle: weights_unavailable, invalid_checkpoint, unsupported_model
 */
export async function openUpstream(options: UpstreamOptions): Promise<Completer> {
  const { bundle, signal, ...upstream } = options;
  const fetchUrl = createNodeSafeFetch();
  const common = { ...upstream, clock: systemClock, fetchUrl };
  if (bundle === undefined) return createUpstreamCompleter(common);
  const model = await describeBundle(bundle, signal);
  const { tokenizer } = model;
  const preparer = createPreparer({
    tokenizer,
    model: model.config,
    contextTokens: model.card.contextTokens,
    loadImage: imageLoader(model, fetchUrl),
  });
  return createUpstreamCompleter({
    ...common,
    tokenizer,
    prepare: (input, promptSignal) => preparer.prepare(input, promptSignal),
    // Servers without top_k would refuse Gemma's own defaults in every request.
    ...(upstream.kind === 'tgi' || upstream.kind === 'openai'
      ? {}
      : { card: { defaults: model.card.defaults } }),
  });
}

function imageLoader(
  { image }: FleetModel,
  fetchUrl: ReturnType<typeof createNodeSafeFetch>,
): Parameters<typeof createPreparer>[0]['loadImage'] {
  if (image === null) return async () => [];
  return createImageLoader({ decoder: createNodeImageDecoder(), fetchUrl, config: image });
}
