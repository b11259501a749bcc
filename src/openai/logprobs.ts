import type { TokenReport } from '../completer.ts';

/** JSON has no -Infinity; OpenAI writes this for tokens that cannot occur. */
const LOGPROB_FLOOR = -9999;

/** Chat: one entry of `logprobs.content`. */
export interface ChatTokenLogprob {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: readonly number[];
  readonly top_logprobs: readonly Omit<ChatTokenLogprob, 'top_logprobs'>[];
}

export interface ChatLogprobs {
  readonly content: readonly ChatTokenLogprob[];
  readonly refusal: null;
}

/** @param asIds write tokens as `token_id:7`, as vLLM does for clients that must tell them apart */
export function chatLogprobs(tokens: readonly TokenReport[], asIds = false): ChatLogprobs {
  const content = tokens.map((report) => ({
    token: nameOf(report, asIds),
    logprob: finite(report.logprob),
    bytes: report.bytes,
    top_logprobs: report.top.map((other) => ({
      token: nameOf(other, asIds),
      logprob: finite(other.logprob),
      bytes: other.bytes,
    })),
  }));
  return { content, refusal: null };
}

/** Text completions: parallel arrays, one entry per token. */
export interface LegacyLogprobs {
  readonly tokens: readonly string[];
  readonly token_logprobs: readonly (number | null)[];
  readonly top_logprobs: readonly (Readonly<Record<string, number>> | null)[];
  /** Characters (code points) of the choice's text before each token. */
  readonly text_offset: readonly number[];
}

/** Converts a choice's tokens piece by piece, keeping count of the text before them. */
export interface LegacyLogprobsWriter {
  /** @param specialsShown special tokens stand in the text by their spelling */
  write(tokens: readonly TokenReport[], specialsShown?: boolean): LegacyLogprobs;
}

/** @param asIds as in {@link chatLogprobs} */
export function createLegacyLogprobs(asIds = false): LegacyLogprobsWriter {
  let characters = 0;
  return {
    write(tokens, specialsShown = false) {
      const offsets = tokens.map((report) => {
        const first = report.bytes[0];
        // A token may start inside a character: then it belongs to that character.
        const offset = first !== undefined && isContinuation(first) ? characters - 1 : characters;
        for (const byte of report.bytes) if (!isContinuation(byte)) characters++;
        if (specialsShown && first === undefined) characters += Array.from(report.text).length;
        return Math.max(0, offset);
      });
      return {
        tokens: tokens.map((report) => nameOf(report, asIds)),
        token_logprobs: tokens.map((report) => nullable(report.logprob)),
        top_logprobs: tokens.map((report) =>
          report.logprob === null ? null : topByText(report, asIds),
        ),
        text_offset: offsets,
      };
    },
  };
}

/**
 * Alternatives by text. Two ids may share a text (a byte token and a letter): the likelier stays.
 * The token itself is always there, with the very float of `token_logprobs`: harnesses tell
 * greedy tokens by comparing it with the maximum.
 */
function topByText(report: TokenReport, asIds: boolean): Readonly<Record<string, number>> {
  const byText = new Map<string, number>();
  const candidates = [...report.top, { ...report, logprob: report.logprob }];
  for (const { id, text: spelling, logprob } of candidates) {
    const text = nameOf({ id, text: spelling }, asIds);
    const value = finite(logprob);
    const known = byText.get(text);
    if (known === undefined || value > known) byText.set(text, value);
  }
  return Object.fromEntries(byText);
}

function nameOf(token: Pick<TokenReport, 'id' | 'text'>, asIds: boolean): string {
  return asIds ? `token_id:${token.id}` : token.text;
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}

function finite(logprob: number | null): number {
  return logprob === null || !Number.isFinite(logprob) ? LOGPROB_FLOOR : logprob;
}

function nullable(logprob: number | null): number | null {
  return logprob === null ? null : finite(logprob);
}
