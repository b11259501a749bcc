import type { RopeConfig } from '../../src/model/config.ts';

/**
 * Cosines and sines of rotary position embedding, rounded where the reference rounds (fp32
 * frequencies and angles).
 * @param cos,sin [positions, headDim / 2], filled
 */
export function fillRopeTables(
  config: RopeConfig,
  headDim: number,
  cos: Float32Array,
  sin: Float32Array,
): void {
  const half = headDim / 2;
  const frequencies = new Float32Array(half);
  for (let j = 0; j < half; j++) {
    const power = Math.fround(config.theta ** Math.fround((2 * j) / headDim));
    frequencies[j] = Math.fround(1 / power) / config.factor;
  }
  const positions = cos.length / half;
  for (let position = 0, i = 0; position < positions; position++) {
    for (let j = 0; j < half; j++, i++) {
      const angle = Math.fround(position * (frequencies[j] as number));
      cos[i] = Math.cos(angle);
      sin[i] = Math.sin(angle);
    }
  }
}
