import type { TokenReport, TokenText } from '../../src/completer.ts';
import type { Tokenizer } from '../../src/prompt/tokenizer.ts';
import { createTokenReporter } from '../../src/token-reports.ts';
import { UNKNOWN_ID } from './call.ts';

/** A token as a server shows it. */
export interface SaidToken {
  readonly id: number | null;
  readonly text: string | null;
  readonly bytes: readonly number[] | null;
  /** null when it was not asked for, and of the first prompt token. */
  readonly logprob: number | null;
}

export interface Reports {
  /**
   * @param others the likeliest tokens, in any order; the chosen one may be among them
   * @param count alternatives to report, null for none
   */
  report(token: SaidToken, others: readonly SaidToken[], count: number | null): TokenReport;
}

/**
 * Creates the one way from what servers show of tokens to what we report. With a tokenizer, ids alone
 * decide text and bytes, exactly; without one the server's texts must do, in which bytes that are part
 * of a character show as U+FFFD.
 */
export function createReports(tokenizer: Tokenizer | null): Reports {
  const reporter = tokenizer === null ? null : createTokenReporter(tokenizer);
  const encoder = new TextEncoder();

  function spell({ id, text, bytes }: SaidToken): Omit<TokenText, 'logprob'> {
    if (reporter !== null && id !== null) return reporter.report(id, null);
    const shown = text ?? '';
    return { id: id ?? UNKNOWN_ID, text: shown, bytes: bytes ?? Array.from(encoder.encode(shown)) };
  }

  function withLogprob(token: SaidToken): TokenText {
    const { id, text, bytes } = spell(token);
    return { id, text, bytes, logprob: token.logprob ?? Number.NEGATIVE_INFINITY };
  }

  return {
    report(token, others, count) {
      const { id, text, bytes } = spell(token);
      if (count === null || token.logprob === null)
        return { id, text, bytes, logprob: null, top: [] };
      const top = others
        .map(withLogprob)
        .toSorted((a, b) => b.logprob - a.logprob || a.id - b.id)
        .slice(0, count);
      return { id, text, bytes, logprob: token.logprob, top };
    },
  };
}
