/**
 * A 32-bit hash over the bits of floats, in order: tells accidents apart, not adversaries. Values that
 * compare equal but have other bits (0 and -0) differ.
 */
export function digestBits(...parts: readonly Float32Array[]): number {
  let hash = 0;
  let count = 0;
  for (const part of parts) {
    const words = wordsOf(part);
    for (let at = 0; at < words.length; at++) {
      // The body of MurmurHash3: multiplications spread upwards, rotations bring bits back down.
      let word = Math.imul(words[at] as number, 0xcc9e2d51);
      word = Math.imul((word << 15) | (word >>> 17), 0x1b873593);
      hash ^= word;
      hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
    }
    // Where one part ends and the next begins matters, too.
    hash ^= words.length;
    count += words.length;
  }
  hash = Math.imul(hash ^ count ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** Whether two arrays hold the same bits: NaN equals itself here, and 0 is not -0. */
export function sameBits(a: Float32Array, b: Float32Array): boolean {
  if (a.length !== b.length) return false;
  const [first, second] = [wordsOf(a), wordsOf(b)];
  return first.every((word, at) => word === second[at]);
}

function wordsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}
