import { commonPrefix } from './content.ts';
import type { KvUser } from './kv-user.ts';
import type { RowContent, RowState } from './rows.ts';

/** A row of the memory: who runs in it, or what it was left with. */
export interface Row extends RowState {
  row: number;
  isRunning: boolean;
  usedAt: number;
  user: KvUser | null;
  warm: RowContent | null;
  /** Tokens from the start whose full pages have been offered to host memory. */
  offeredTokens: number;
}

export function createRow(row: number): Row {
  const state: Row = {
    row,
    isRunning: false,
    usedAt: 0,
    user: null,
    warm: null,
    offeredTokens: 0,
    get content(): RowContent | null {
      const { user } = state;
      if (user === null) return state.warm;
      return { scope: user.scope, words: user.words, length: user.computed };
    },
  };
  return state;
}

/** How much of a content the row holds, counted from its start. */
export function heldTokens({ content }: Row, scope: string, words: Int32Array): number {
  if (content === null || content.scope !== scope) return 0;
  return commonPrefix(content.words, words, content.length);
}
