/** Text to ids and back, exactly as the reference tokenizer. */
export interface Tokenizer {
  /** Ids 0..vocabSize-1 have a text; the model may have more (padding) rows. */
  readonly vocabSize: number;
  readonly special: SpecialTokens;
  /** UTF-8 bytes of text one token can stand for at most: n tokens hold no more than n times this. */
  readonly longestTokenBytes: number;
  /** Encodes plain text: control tokens spelled out in it stay text. */
  encode(text: string): number[];
  /**
   * Encodes segments as one text, so that merges cross their borders as in the reference; only
   * `control` segments become control tokens.
   */
  encodeSegments(segments: readonly PromptSegment[]): number[];
  /** The bytes a token adds to the text; empty for special tokens. */
  bytes(id: number): Uint8Array;
  /** The token as its vocabulary spells it, special tokens included. */
  spelling(id: number): string;
  /** The reference's decode with special tokens skipped or kept. */
  decode(ids: readonly number[], options?: { readonly keepSpecial?: boolean }): string;
}

export type PromptSegment =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'control'; readonly id: number };

export interface SpecialTokens {
  readonly bos: number;
  readonly eos: number;
  readonly pad: number;
  readonly unknown: number;
  readonly startOfTurn: number;
  readonly endOfTurn: number;
  /** null for tokenizers without images. */
  readonly startOfImage: number | null;
  readonly endOfImage: number | null;
  readonly imageSoftToken: number | null;
  /** All special ids, which decoding skips. */
  readonly all: ReadonlySet<number>;
}
