import { runBounded } from '../../src/lib/run-bounded.ts';
import { askDetailed, type ChatMessage, type DetailedAnswer } from './load-client.ts';

/** A greedy answer as it came under load. */
export interface ServedAnswer {
  readonly messages: readonly ChatMessage[];
  readonly text: string;
}

export interface AnswerCheck {
  readonly checked: number;
  readonly equal: number;
  /** Different from a token on that was nearly as likely as the next one. */
  readonly nearTies: number;
  readonly different: number;
  readonly firstDifference: string | null;
}

/**
 * Tokens once decoded and tokens computed again from a prompt differ in rounding: what is reused can
 * decide between two that are this close. Nats, for activations of 8 bits.
 */
const TIE_NATS = 0.25;
const CONCURRENCY = 8;

/**
 * Asks again with nothing to reuse, and compares.
 * @param options of the requests that were served
 */
export async function checkAnswers(
  url: string,
  served: readonly ServedAnswer[],
  options: Readonly<Record<string, unknown>>,
): Promise<AnswerCheck> {
  const counts = { equal: 0, nearTies: 0, different: 0 };
  let firstDifference: string | null = null;
  await runBounded(served.length, CONCURRENCY, async (index) => {
    const { messages, text } = served[index] as ServedAnswer;
    const fresh = await askDetailed(url, messages, { ...options, cache_salt: `fresh ${index}` });
    if (fresh.cachedTokens !== 0)
      throw new Error('an answer that was to be fresh reused something');
    const lead = leadAtDifference(text, fresh);
    if (lead === null) counts.equal++;
    else if (lead < TIE_NATS) counts.nearTies++;
    else {
      counts.different++;
      const words = `${JSON.stringify(text)}, afresh ${JSON.stringify(fresh.text)}`;
      firstDifference ??= `${words}, ${lead.toFixed(2)} nats ahead`;
    }
  });
  return { checked: served.length, ...counts, firstDifference };
}

/**
 * How far ahead the fresh answer's token was where the text left it, in nats; null when the text is
 * the same.
 */
export function leadAtDifference(text: string, fresh: DetailedAnswer): number | null {
  if (text === fresh.text) return null;
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  for (const token of fresh.tokens) {
    // A special token ends the text, and this text goes on.
    if (token.bytes.length === 0) return token.lead;
    if (token.bytes.some((byte, index) => bytes[at + index] !== byte)) return token.lead;
    at += token.bytes.length;
  }
  return Number.POSITIVE_INFINITY;
}
