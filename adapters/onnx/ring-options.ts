import { readFileSync } from 'node:fs';
import type { RowRingOptions } from '../../src/engine/row-ring.ts';
import type { ModelConfig } from '../../src/model/config.ts';

/**
 * The ring of local layers under ONNX Runtime's CPU attention. Moving a row must keep the bits of
 * what follows, so it moves by whole blocks of both kinds in which attention adds up its entries,
 * counted from the start of the cache: blocks of the softmax, as many entries as a quarter of the
 * L2 cache holds keys and values of, and blocks of the product of probabilities and values, 128
 * entries deep and twice as deep each time the head is half as wide. Measured on a processor with
 * 512 KiB of L2 and on one with 2 MiB, for heads of 16 to 256.
 */
export function ringOptionsFor(
  config: ModelConfig,
  chunkTokens: number,
  l2Bytes: number = readL2Bytes(),
): RowRingOptions {
  const { headDim, windowTokens } = config.text;
  let width = 128;
  let productBlock = 128;
  while (width > 16 && width / 2 >= headDim) {
    width /= 2;
    productBlock *= 2;
  }
  const softmaxBlock = Math.max(1, Math.floor(l2Bytes / (4 * 4 * 2 * headDim)));
  return {
    windowTokens,
    chunkTokens: Math.max(chunkTokens, config.vision?.tokensPerImage ?? 0),
    alignTokens: leastCommonMultiple(productBlock, softmaxBlock),
  };
}

/** Assumed where the system does not tell. */
const COMMON_L2_BYTES = 2 * 2 ** 20;

let knownL2Bytes: number | undefined;

/** Size of one core's L2 cache, in bytes. */
function readL2Bytes(): number {
  if (knownL2Bytes !== undefined) return knownL2Bytes;
  try {
    const text = readFileSync('/sys/devices/system/cpu/cpu0/cache/index2/size', 'utf8').trim();
    const [, count, unit] = /^(\d+)([KM]?)$/.exec(text) ?? [];
    const scale = { '': 1, K: 2 ** 10, M: 2 ** 20 }[unit ?? ''] ?? 1;
    knownL2Bytes = count === undefined ? COMMON_L2_BYTES : Number(count) * scale;
  } catch {
    knownL2Bytes = COMMON_L2_BYTES;
  }
  return knownL2Bytes;
}

function leastCommonMultiple(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y !== 0) [x, y] = [y, x % y];
  return (a / x) * b;
}
