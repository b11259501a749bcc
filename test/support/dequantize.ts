import type { Checkpoint } from '../../src/weights/checkpoint.ts';

/**
 * A linear of any storage as floats [out, in], straight from the definition in checkpoint.ts:
 * the oracle of what a kernel has to compute with.
 */
export async function dequantize(checkpoint: Checkpoint, name: string): Promise<Float32Array> {
  const info = await checkpoint.linear(name);
  if (info.type === 'float') return checkpoint.readFloats(name);
  const { outFeatures, inFeatures, groupSize } = info;
  const groups = inFeatures / groupSize;
  const target = {
    packed: new Uint8Array((outFeatures * inFeatures) / 2),
    scales: new Float32Array(outFeatures * groups),
    zeroPoints: info.symmetric ? null : new Uint8Array(outFeatures * Math.ceil(groups / 2)),
  };
  await checkpoint.readInt4(name, target);
  const out = new Float32Array(outFeatures * inFeatures);
  for (let n = 0; n < outFeatures; n++) {
    for (let k = 0; k < inFeatures; k++) {
      const g = Math.floor(k / groupSize);
      const nibble = nibbleAt(target.packed, n * inFeatures + k);
      const zero =
        target.zeroPoints === null
          ? 8
          : nibbleAt(target.zeroPoints, 2 * n * Math.ceil(groups / 2) + g);
      out[n * inFeatures + k] = (nibble - zero) * (target.scales[n * groups + g] ?? 0);
    }
  }
  return out;
}

function nibbleAt(bytes: Uint8Array, index: number): number {
  return ((bytes[index >>> 1] ?? 0) >>> (4 * (index & 1))) & 15;
}
