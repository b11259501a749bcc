/** The listed merges of a vocabulary: the rank of a pair of ids, by open addressing. */
export interface MergeTable {
  /** Position of the merge (left, right) in the list, or -1. */
  rank(left: number, right: number): number;
}

/** @param pairs [count, 2]: left id, right id, in order of rank */
export function createMergeTable(pairs: Int32Array): MergeTable {
  const count = pairs.length / 2;
  let slotBits = 4;
  while (1 << slotBits < count * 2) slotBits++;
  const shift = 32 - slotBits;
  const mask = (1 << slotBits) - 1;
  // Rank + 1; 0 in a free slot.
  const slots = new Int32Array(1 << slotBits);

  for (let rank = 0; rank < count; rank++) {
    let slot = firstSlot(pairs[2 * rank] as number, pairs[2 * rank + 1] as number, shift);
    while (slots[slot] !== 0) slot = (slot + 1) & mask;
    slots[slot] = rank + 1;
  }

  return {
    rank(left, right) {
      let slot = firstSlot(left, right, shift);
      for (;;) {
        const rank = (slots[slot] as number) - 1;
        // A pair listed twice keeps its first rank: that one is met first.
        if (rank < 0) return -1;
        if (pairs[2 * rank] === left && pairs[2 * rank + 1] === right) return rank;
        slot = (slot + 1) & mask;
      }
    },
  };
}

function firstSlot(left: number, right: number, shift: number): number {
  const hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
  return Math.imul(hash ^ (hash >>> 15), 0xc2b2ae35) >>> shift;
}
