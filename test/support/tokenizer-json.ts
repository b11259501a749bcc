/** Small tokenizer.json files of Gemma's kind. */
export interface TokenizerJsonOptions {
  /** Spellings after the special and byte tokens, in order of ids. */
  readonly pieces: readonly string[];
  /** Default: what follows from the pieces, in Gemma's order. */
  readonly merges?: readonly (readonly [string, string])[];
  /** Pieces that are added tokens too, matched in raw text. */
  readonly added?: readonly string[];
}

export interface TokenizerJsonParts {
  model: Record<string, unknown> & {
    vocab: Record<string, number>;
    merges: (readonly [string, string])[];
  };
  added_tokens: Record<string, unknown>[];
  normalizer: unknown;
  pre_tokenizer: unknown;
  decoder: unknown;
}

const CONTROL_TOKENS: readonly string[] = [
  '<pad>',
  '<eos>',
  '<bos>',
  '<unk>',
  '<start_of_turn>',
  '<end_of_turn>',
  '<start_of_image>',
  '<end_of_image>',
];

/** Id of the first of `pieces`. */
export const FIRST_PIECE: number = CONTROL_TOKENS.length + 256;

export function tokenizerJson(options: TokenizerJsonOptions): TokenizerJsonParts {
  const bytes = Array.from(
    { length: 256 },
    (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
  );
  const spellings = [...CONTROL_TOKENS, ...bytes, ...options.pieces];
  const vocab = Object.fromEntries(spellings.map((spelling, id) => [spelling, id]));
  return {
    model: {
      type: 'BPE',
      byte_fallback: true,
      fuse_unk: true,
      unk_token: '<unk>',
      vocab,
      merges: [...(options.merges ?? followingMerges(spellings))],
    },
    added_tokens: [
      ...CONTROL_TOKENS.map((content, id) => addedToken(content, id, true)),
      ...(options.added ?? []).map((content) => addedToken(content, vocab[content] ?? -1, false)),
      // Known to the added tokens only, as in Gemma.
      addedToken('<image_soft_token>', spellings.length, true),
    ],
    normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' },
    pre_tokenizer: {
      type: 'Split',
      pattern: { String: ' ' },
      behavior: 'MergedWithPrevious',
      invert: false,
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '\u2581' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
      ],
    },
  };
}

export function toBytes(json: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(json));
}

function addedToken(content: string, id: number, special: boolean): Record<string, unknown> {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  return { id, content, ...flags, special };
}

/** Every split of every token into two tokens, by id, then the longest left part first. */
function followingMerges(spellings: readonly string[]): (readonly [string, string])[] {
  const known = new Set(spellings);
  return spellings.flatMap((spelling) => {
    const points = Array.from(spelling);
    return points
      .map((_, cut) => [points.slice(0, cut).join(''), points.slice(cut).join('')] as const)
      .filter(([left, right]) => known.has(left) && known.has(right))
      .toReversed();
  });
}
