/** Mixes two words into one: small, fast and well spread; not for secrets. */
export function mix(a: number, b: number): number {
  let word = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul((b >>> 0) + 0x7f4a7c15, 0xc2b2ae35);
  word = Math.imul(word ^ (word >>> 15), 0x2c1b3c6d);
  word = Math.imul(word ^ (word >>> 12), 0x297a2d39);
  return (word ^ (word >>> 15)) >>> 0;
}

/** Hashes the bits of values [from, to). */
export function hashFloats(values: Float32Array, from: number, to: number): number {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  let hash = to - from;
  for (let at = from; at < to; at++) hash = mix(hash, bits[at] ?? 0);
  return hash;
}
