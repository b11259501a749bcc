import type { ModelConfig } from '../../src/model/config.ts';

export interface FakeModelOptions {
  /** Default 300: bytes, special tokens and a few padding rows. */
  readonly vocabSize?: number;
  /** Default 32. */
  readonly windowTokens?: number;
  /** Default 4096. */
  readonly maxPositions?: number;
  /** Default 4. */
  readonly tokensPerImage?: number;
  /** Default [1, 5]. */
  readonly eosIds?: readonly number[];
  /** false for a text-only model; default true. */
  readonly hasVision?: boolean;
}

/**
 * A model small enough for the fake backend. Ids: 0 pad, 1 eos, 2 bos, 3 unknown, 4 start of turn,
 * 5 end of turn, 6 image start, 7 image end, 8 image soft token.
 */
export function fakeModelConfig(options: FakeModelOptions = {}): ModelConfig {
  return {
    text: {
      vocabSize: options.vocabSize ?? 300,
      hiddenSize: 8,
      layerCount: 2,
      headCount: 1,
      kvHeadCount: 1,
      headDim: 8,
      intermediateSize: 16,
      attentionScale: 8 ** -0.5,
      windowTokens: options.windowTokens ?? 32,
      layerTypes: ['local', 'global'],
      rmsNormEps: 1e-6,
      rope: { local: { theta: 10_000, factor: 1 }, global: { theta: 1_000_000, factor: 1 } },
      maxPositions: options.maxPositions ?? 4096,
      embeddingScale: 8 ** 0.5,
      attentionSoftcap: null,
      logitSoftcap: null,
      bosId: 2,
      padId: 0,
      eosIds: options.eosIds ?? [1, 5],
    },
    vision:
      options.hasVision === false
        ? null
        : {
            hiddenSize: 8,
            layerCount: 1,
            headCount: 1,
            intermediateSize: 16,
            imageSize: 8,
            patchSize: 4,
            layerNormEps: 1e-6,
            tokensPerImage: options.tokensPerImage ?? 4,
            beginImageId: 6,
            endImageId: 7,
            imageTokenId: 8,
          },
  };
}
