/** Float types a checkpoint's weights are stored in, by their config.json names. */
export type WeightDtype = 'bfloat16' | 'float16' | 'float32';

/** Mantissa bits of a float32 that the type does not keep. */
const DROPPED_BITS: Readonly<Record<WeightDtype, number>> = {
  bfloat16: 16,
  float16: 13,
  float32: 0,
};

/**
 * sqrt(hiddenSize) as the reference multiplies token embeddings with it: rounded to the dtype of
 * the embedding table first (27B in bfloat16: 73.5, not 73.32).
 */
export function embeddingScale(hiddenSize: number, dtype: WeightDtype): number {
  return roundMantissa(Math.sqrt(hiddenSize), DROPPED_BITS[dtype]);
}

/** Rounds to nearest, ties to even. Exact for both half types: no scale leaves their normal range. */
function roundMantissa(value: number, droppedBits: number): number {
  const float = new Float32Array([value]);
  if (droppedBits === 0) return float[0] ?? value;
  const bits = new Uint32Array(float.buffer);
  const word = bits[0] ?? 0;
  const half = 2 ** (droppedBits - 1) - 1 + ((word >>> droppedBits) & 1);
  bits[0] = ((word + half) >>> droppedBits) << droppedBits;
  return float[0] ?? value;
}
