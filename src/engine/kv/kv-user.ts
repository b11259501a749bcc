/** What the memory sees of a sequence. */
export interface KvUser {
  readonly scope: string;
  /** Content of prompt and completion; see `contentOf`. */
  readonly words: Int32Array;
  /** First soft token of each image, ascending. */
  readonly imagePositions: readonly number[];
  /** Tokens to compute before tokens can be generated. */
  readonly prefillTokens: number;
  /** It goes on after it lost its row. */
  readonly isResuming: boolean;
  /** Most tokens to take from elsewhere, fewer than `prefillTokens` unless it resumes. */
  readonly reusableTokens: number;
  /** Tokens in the row. */
  computed: number;
  row: number | null;
}
