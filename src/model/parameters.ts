import type { ModelConfig } from './config.ts';
import { expectedTensors } from './tensor-shapes.ts';
import type { ModelPart } from './tensor-shapes.ts';

/** Parameter counts by part; a tied head counts once, with the embedding. */
export interface ParameterCounts extends Readonly<Record<ModelPart, number>> {
  /** Of `decoder`: those in linear layers, which a quantised checkpoint stores as int4. */
  readonly decoderLinear: number;
  readonly total: number;
}

/** Counts the parameters of a model with this config, padding rows of its vocabulary included. */
export function countParameters(config: ModelConfig): ParameterCounts {
  const counts = { embedding: 0, decoder: 0, vision: 0, projector: 0 };
  let decoderLinear = 0;
  for (const { shape, part, kind } of expectedTensors(config)) {
    const size = shape.reduce((product, dimension) => product * dimension, 1);
    counts[part] += size;
    if (kind === 'linear') decoderLinear += size;
  }
  const total = counts.embedding + counts.decoder + counts.vision + counts.projector;
  return { ...counts, decoderLinear, total };
}
