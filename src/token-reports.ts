import type { TokenReport, TokenText } from './completer.ts';
import type { TokenLogprob, TokenLogprobs } from './engine/engine.ts';
import type { Tokenizer } from './prompt/tokenizer.ts';

export interface TokenReporter {
  /** @param logprobs null when none were asked for or the token was never predicted */
  report(id: number, logprobs: TokenLogprobs | null): TokenReport;
}

/** Creates the reporter that gives ids their texts. */
export function createTokenReporter(tokenizer: Tokenizer): TokenReporter {
  const { special, vocabSize } = tokenizer;
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  function spell(id: number): { readonly text: string; readonly bytes: readonly number[] } {
    // A padding row of the logits has no text; only a report of likely tokens can name one.
    if (id >= vocabSize) return { text: '', bytes: [] };
    // Special tokens add no bytes to the text, but a report must tell them apart.
    if (special.all.has(id)) return { text: tokenizer.spelling(id), bytes: [] };
    const bytes = tokenizer.bytes(id);
    return { text: decoder.decode(bytes), bytes: Array.from(bytes) };
  }

  function withText({ id, logprob }: TokenLogprob): TokenText {
    return { id, ...spell(id), logprob };
  }

  return {
    report(id, logprobs) {
      return {
        id,
        ...spell(id),
        logprob: logprobs?.logprob ?? null,
        top: logprobs === null ? [] : logprobs.top.map(withText),
      };
    },
  };
}
