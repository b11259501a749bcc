export interface ModelConfig {
  readonly text: TextConfig;
  /** null for text-only checkpoints. */
  readonly vision: VisionConfig | null;
}
export interface TextConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly kvHeadCount: number;
  readonly headDim: number;
  readonly intermediateSize: number;
  /** Multiplies q.k before the softmax: query_pre_attn_scalar^-0.5. */
  readonly attentionScale: number;
  /** Tokens a local layer sees, itself included. */
  readonly windowTokens: number;
  /** One per layer. */
  readonly layerTypes: readonly LayerType[];
  readonly rmsNormEps: number;
  readonly rope: Readonly<Record<LayerType, RopeConfig>>;
  /** Longest context the model was made for, in tokens. */
  readonly maxPositions: number;
  /** Multiplies token embeddings: sqrt(hiddenSize) rounded to the checkpoint's dtype. */
  readonly embeddingScale: number;
  /** cap * tanh(x / cap) on attention scores; null for Gemma 3. */
  readonly attentionSoftcap: number | null;
  /** cap * tanh(x / cap) on logits; null for Gemma 3. */
  readonly logitSoftcap: number | null;
  readonly bosId: number;
  readonly padId: number;
  /** Ids that end a completion. */
  readonly eosIds: readonly number[];
}
/** local: sliding window; global: full attention. */
export type LayerType = 'local' | 'global';
export interface RopeConfig {
  readonly theta: number;
  /** Divides all inverse frequencies (linear scaling); 1 is off. */
  readonly factor: number;
}
export interface VisionConfig {
  readonly hiddenSize: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly intermediateSize: number;
  /** Side of the square input, in pixels. */
  readonly imageSize: number;
  readonly patchSize: number;
  readonly layerNormEps: number;
  /** Soft tokens one image becomes; a square number. */
  readonly tokensPerImage: number;
  readonly beginImageId: number;
  readonly endImageId: number;
  readonly imageTokenId: number;
}
