/** Finds added tokens in raw text: leftmost first, then the longest, as the reference does. */
export interface AddedTokenMatcher {
  /** Id of the longest added token that bytes[at, end) starts with, or -1. */
  match(bytes: Uint8Array, at: number, end: number): number;
}

/**
 * A trie over bytes in flat arrays; children of a node are a linked list.
 * @param text spellings in order of ids
 * @param offsets token `id` is text[offsets[id], offsets[id + 1])
 */
export function createAddedTokenMatcher(
  ids: readonly number[],
  text: Uint8Array,
  offsets: Int32Array,
): AddedTokenMatcher {
  // Node 0 is "none"; nodes 1..256 are the first bytes, so that most positions cost one look.
  const bytesOf: number[] = Array.from({ length: 257 }, () => 0);
  const firstChild: number[] = bytesOf.slice();
  const sibling: number[] = bytesOf.slice();
  const tokenOf: number[] = Array.from({ length: 257 }, () => -1);

  function child(node: number, byte: number): number {
    let found = firstChild[node] as number;
    while (found !== 0 && bytesOf[found] !== byte) found = sibling[found] as number;
    return found;
  }

  for (const id of ids) {
    const start = offsets[id] as number;
    const end = offsets[id + 1] as number;
    let node = 1 + (text[start] as number);
    for (let at = start + 1; at < end; at++) {
      const byte = text[at] as number;
      let next = child(node, byte);
      if (next === 0) {
        next = bytesOf.length;
        bytesOf.push(byte);
        firstChild.push(0);
        sibling.push(firstChild[node] as number);
        tokenOf.push(-1);
        firstChild[node] = next;
      }
      node = next;
    }
    tokenOf[node] = id;
  }

  return {
    match(bytes, at, end) {
      let node = 1 + (bytes[at] as number);
      let longest = tokenOf[node] as number;
      for (let next = at + 1; next < end; next++) {
        if (firstChild[node] === 0) break;
        node = child(node, bytes[next] as number);
        if (node === 0) break;
        const id = tokenOf[node] as number;
        if (id >= 0) longest = id;
      }
      return longest;
    },
  };
}
