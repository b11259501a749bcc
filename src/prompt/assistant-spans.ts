import type { TokenSpan } from '../engine/engine.ts';
import type { TemplatePiece } from './chat-template.ts';
import type { Tokenizer } from './tokenizer.ts';

/**
 * Finds the tokens of the texts marked as the assistant's. A text whose first token holds more than
 * the text, because a merge crossed its border, gets no span.
 * @param tokens the encoded `pieces`
 * @returns ascending
 */
export function findAssistantSpans(
  pieces: readonly TemplatePiece[],
  tokens: readonly number[],
  tokenizer: Tokenizer,
): TokenSpan[] {
  const { startOfTurn, endOfTurn } = tokenizer.special;
  const spans: TokenSpan[] = [];
  // Turns are found by their control tokens, which no text becomes, so it does not matter how many
  // tokens anything else takes.
  let turnStart = -1;
  /** Bytes before the text in its turn; ASCII where it counts, since only the role stands there. */
  let headBytes = 0;
  for (const piece of pieces) {
    if (piece.type === 'control' && piece.name === 'startOfTurn') {
      turnStart = tokens.indexOf(startOfTurn, turnStart + 1);
      headBytes = 0;
    } else if (piece.type === 'text' && piece.isAssistant !== true) {
      headBytes += piece.text.length;
    } else if (piece.type === 'text') {
      const start = skipBytes(tokens, turnStart + 1, headBytes, tokenizer);
      const end = tokens.indexOf(endOfTurn, turnStart);
      if (start !== null) spans.push({ start, end: end < 0 ? tokens.length : end });
    }
  }
  return spans;
}

/** The index of the token that begins `count` bytes after token `from` does; null when none does. */
function skipBytes(
  tokens: readonly number[],
  from: number,
  count: number,
  tokenizer: Tokenizer,
): number | null {
  let at = from;
  let left = count;
  while (left > 0 && at < tokens.length) left -= tokenizer.bytes(tokens[at++] ?? -1).length;
  return left === 0 ? at : null;
}
