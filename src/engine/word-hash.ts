/** A running hash of words; small, fast and well spread, not for secrets. */
export interface WordHash {
  add(words: ArrayLike<number>, from: number, to: number): void;
  copy(): WordHash;
  /** 64 bits as text. */
  digest(): string;
}

export function createWordHash(high = 0x243f6a88, low = 0x85a308d3): WordHash {
  let a = high;
  let b = low;
  return {
    add(words, from, to) {
      for (let at = from; at < to; at++) {
        const word = words[at] ?? 0;
        a = Math.imul(a ^ word, 0x9e3779b1);
        a ^= a >>> 15;
        b = Math.imul(b + word, 0x85ebca6b);
        b ^= b >>> 13;
      }
    },
    copy: () => createWordHash(a, b),
    digest: () => `${a.toString(36)},${b.toString(36)}`,
  };
}
