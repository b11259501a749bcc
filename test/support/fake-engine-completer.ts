import type { FakeBackend, FakeBackendOptions } from '../../adapters/fake/backend.ts';
import { fakeModelConfig } from '../../adapters/fake/config.ts';
import { createNodeImageDecoder } from '../../adapters/node/image-decoder.ts';
import { prepareWith } from '../../src/image/prepare-picture.ts';
import type { Completer, ModelCard } from '../../src/completer.ts';
import type { LocalEngineOptions } from '../../src/engine/local-engine.ts';
import { createEngineCompleter, tokenBytesOf } from '../../src/engine-completer.ts';
import { parseImageConfig } from '../../src/image/image-config.ts';
import { createImageLoader } from '../../src/image/load-image.ts';
import { createPreparer } from '../../src/prompt/prepare.ts';
import type { Tokenizer } from '../../src/prompt/tokenizer.ts';
import { createByteTokenizer } from './byte-tokenizer.ts';
import { createTestEngine } from './engine-harness.ts';

export const FAKE_CARD: ModelCard = {
  id: 'google/gemma-fake',
  createdSeconds: 1_700_000_000,
  contextTokens: 512,
  precision: 'fast',
  acceptsImages: true,
  vocabSize: 265,
  defaults: {
    temperature: 1,
    topK: 64,
    topP: 0.95,
    minP: 0,
    repetitionPenalty: 1,
    maxTokens: 20,
  },
};

/** Everything real but the device: template, tokens, images, engine; only the model is the fake. */
export function createFakeEngineCompleter(
  engineOptions: Partial<LocalEngineOptions> = {},
  backendOptions: FakeBackendOptions = {},
  tokenizer: Tokenizer = createByteTokenizer(),
): { readonly completer: Completer; readonly backend: FakeBackend } {
  const config =
    backendOptions.config ?? fakeModelConfig({ maxPositions: FAKE_CARD.contextTokens });
  const tokens = tokenBytesOf(tokenizer, config);
  const { engine, backend } = createTestEngine(
    { tokens, ...engineOptions },
    { ...backendOptions, config },
  );
  if (config.vision === null) throw new RangeError('the fake model has no vision tower');
  const imageConfig = parseImageConfig({}, config.vision);
  const loadImage = createImageLoader({
    prepare: prepareWith(createNodeImageDecoder()),
    fetchUrl: null,
    config: imageConfig,
  });
  const preparer = createPreparer({
    tokenizer,
    model: config,
    contextTokens: config.text.maxPositions,
    loadImage,
  });
  const card = { ...FAKE_CARD, contextTokens: config.text.maxPositions };
  return {
    completer: createEngineCompleter({
      engine,
      tokenizer,
      prepare: (input, signal) => preparer.prepare(input, signal),
      card,
      replica: {
        image: imageConfig,
        fingerprint: 'the fake',
        vocabulary: async () => new Uint8Array(0),
        loadImage: (bytes, panAndScan, signal) =>
          loadImage(
            { type: 'image', source: { type: 'bytes', bytes }, panAndScan, param: 'image' },
            signal,
          ),
      },
    }),
    backend,
  };
}
