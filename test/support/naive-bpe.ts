import type { TokenizerJsonParts } from './tokenizer-json.ts';

/**
 * Byte-pair encoding as its definition says it: again and again the pair of lowest rank, leftmost
 * first. Quadratic; the oracle of the fast one. Knows no added tokens.
 */
export function naiveBpe(json: TokenizerJsonParts, text: string): number[] {
  const { vocab, merges } = json.model;
  const ranks = new Map(merges.map((pair, rank) => [JSON.stringify(pair), rank]));
  const encoder = new TextEncoder();
  // Byte tokens are kept apart by spelling: no merge speaks of them.
  let symbols = Array.from(text.replaceAll(' ', '\u2581')).flatMap((character) =>
    character in vocab
      ? [character]
      : Array.from(
          encoder.encode(character),
          (byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
        ),
  );
  for (;;) {
    let best = -1;
    let bestRank = Infinity;
    for (let at = 0; at + 1 < symbols.length; at++) {
      const rank = ranks.get(JSON.stringify([symbols[at], symbols[at + 1]])) ?? Infinity;
      if (rank < bestRank) {
        bestRank = rank;
        best = at;
      }
    }
    if (best < 0) break;
    symbols = [
      ...symbols.slice(0, best),
      `${symbols[best]}${symbols[best + 1]}`,
      ...symbols.slice(best + 2),
    ];
  }
  return symbols.map((symbol) => vocab[symbol] ?? -1);
}
