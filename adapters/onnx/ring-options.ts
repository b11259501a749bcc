import type { RowRingOptions } from '../../src/engine/row-ring.ts';
import type { ModelConfig } from '../../src/model/config.ts';

/**
 * The ring of local layers under ONNX Runtime's CPU attention. Its product of probabilities and
 * values adds up entries in blocks counted from the start of the cache: 128 of them, and twice as
 * many each time the head is half as wide (MLAS widens the block's depth as it narrows). Moving a
 * row by whole blocks keeps the bits of what follows; measured for widths 16, 64, 128 and 256.
 */
export function ringOptionsFor(config: ModelConfig, chunkTokens: number): RowRingOptions {
  let width = 128;
  let alignTokens = 128;
  while (width > 16 && width / 2 >= config.text.headDim) {
    width /= 2;
    alignTokens *= 2;
  }
  return {
    windowTokens: config.text.windowTokens,
    chunkTokens: Math.max(chunkTokens, config.vision?.tokensPerImage ?? 0),
    alignTokens,
  };
}
