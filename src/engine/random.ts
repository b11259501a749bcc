/**
 * Counter-based random numbers: a pure function of (seed, index), so that a token's choice depends
 * on nothing that ran before it, beside it or on another replica.
 *
 * Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3"
 * (2011).
 */

const ROUNDS = 10;
const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
/** Golden ratio and sqrt(3) - 1 as 32-bit fractions: the key schedule's constants. */
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const TWO_TO_32 = 0x1_0000_0000;

/**
 * Encrypts `counter` in place with a key of two words.
 * @param counter [4], unsigned 32-bit words
 */
export function philox4x32(counter: Uint32Array, key0: number, key1: number): void {
  let c0 = counter[0] ?? 0;
  let c1 = counter[1] ?? 0;
  let c2 = counter[2] ?? 0;
  let c3 = counter[3] ?? 0;
  let k0 = key0 >>> 0;
  let k1 = key1 >>> 0;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const low0 = Math.imul(MULTIPLIER_0, c0);
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low1 = Math.imul(MULTIPLIER_1, c2);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1 >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0 >>> 0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  counter[0] = c0;
  counter[1] = c1;
  counter[2] = c2;
  counter[3] = c3;
}

const scratch = new Uint32Array(4);

/**
 * The uniform number in [0, 1), with 53 bits, of token `index` of a completion.
 * @param seed 0..2^32-1
 * @param index 0 for the first generated token
 */
export function uniformAt(seed: number, index: number): number {
  scratch[0] = index >>> 0;
  scratch[1] = Math.floor(index / TWO_TO_32);
  scratch[2] = 0;
  scratch[3] = 0;
  philox4x32(scratch, seed, 0);
  const high = (scratch[0] ?? 0) >>> 5;
  const low = (scratch[1] ?? 0) >>> 6;
  return (high * 0x400_0000 + low) / 0x20_0000_0000_0000;
}

/** Upper 32 bits of the 64-bit product of two unsigned words, by 16-bit halves. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  // `middle` may pass 2^32, so divide instead of shifting.
  const carry = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0;
}
