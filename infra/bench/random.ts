/** A fast seeded generator: the same seed gives the same bits on every machine. */
export interface Random {
  /** Fills `out` with uniform 32-bit words. */
  readonly draw: (out: Uint32Array) => void;
}

/**
 * sfc32 (Chris Doty-Humphrey, PractRand): passes statistical tests, four adds and a few shifts a
 * word, which matters when a model takes 10^9 nibbles.
 * @param seed any text; different texts give unrelated streams
 */
export function createRandom(seed: string): Random {
  const hash = hashWords(seed);
  const state = new Uint32Array([hash(), hash(), hash(), 1]);
  const random: Random = { draw: (out) => fill(state, out) };
  // The first words still resemble the seed.
  random.draw(new Uint32Array(16));
  return random;
}

function fill(state: Uint32Array, out: Uint32Array): void {
  let a = state[0] ?? 0;
  let b = state[1] ?? 0;
  let c = state[2] ?? 0;
  let counter = state[3] ?? 0;
  for (let i = 0; i < out.length; i += 1) {
    const word = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + word) | 0;
    out[i] = word;
  }
  state[0] = a;
  state[1] = b;
  state[2] = c;
  state[3] = counter;
}

/** FNV-1a over the seed, then one scrambled word a call. */
function hashWords(seed: string): () => number {
  let state = 0x811c9dc5;
  for (let i = 0; i < seed.length; i += 1) {
    state = Math.imul(state ^ seed.charCodeAt(i), 0x01000193);
  }
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let word = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
    return (word ^ (word >>> 16)) >>> 0;
  };
}
