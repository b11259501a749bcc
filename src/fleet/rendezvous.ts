/** 64 bits of a text, as two words; spread well, not for secrets. */
export interface TextHash {
  readonly high: number;
  readonly low: number;
}

export function hashText(text: string): TextHash {
  let high = 0x243f6a88 ^ text.length;
  let low = 0x85a308d3;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    high = Math.imul(high ^ unit, 0x9e3779b1);
    high ^= high >>> 15;
    low = Math.imul(low + unit, 0x85ebca6b);
    low ^= low >>> 13;
  }
  return { high: finish(high), low: finish(low) };
}

/**
 * How much a replica wants a session, in [0, 2^53): rendezvous hashing. The one that wants it most has
 * it, so that a replica that goes loses only its own sessions, and one that comes takes only its share.
 */
export function rendezvousScore(session: TextHash, replica: TextHash): number {
  const high = finish(session.high ^ replica.low);
  const low = finish(session.low ^ Math.imul(replica.high, 0x9e3779b1) ^ high);
  return (high >>> 0) * 0x20_0000 + (low >>> 11);
}

/** The last mix of MurmurHash3 (Austin Appleby, public domain): each bit in changes half of those out. */
function finish(word: number): number {
  let mixed = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}
