import { isUtf8 } from '../lib/utf8.ts';
import { trimWhitespace } from '../lib/trim-whitespace.ts';
import type { PreparedPrompt, TokenBytes, TokenSpan } from './engine.ts';
import { contentOf } from './kv/content.ts';
import { createWordHash, type WordHash } from './word-hash.ts';

/**
 * What the engine said, as ids. A client sends an answer back as text, and encoding that text anew
 * rarely gives the ids that were sampled; with these in their place the next turn goes on from the
 * keys and values that are already there.
 */
export interface SaidMemory {
  readonly size: SaidSize;
  /**
   * Keeps an answer under the prompt it was said after. Where no ids spell exactly the text that
   * comes back (trimmed as templates trim it), nothing is kept.
   * @param prompt as it was computed, after `resolve`
   * @param ids generated; those past the text, such as the one that ended it, do not matter
   * @param textBytes bytes of text the client got
   * @returns what is kept
   */
  remember(prompt: PreparedPrompt, ids: ArrayLike<number>, textBytes: number): SaidIds | null;
  /** Texts of the assistant in a prompt, ascending, with the ids they were said as; counts as a use. */
  texts(prompt: PreparedPrompt): readonly SaidText[];
  /**
   * Takes ids that were kept elsewhere.
   * @returns false when they do not spell the text
   */
  learn(scope: string, text: SaidText, ids: Int32Array): boolean;
  forget(scope: string, keys: Iterable<string>): void;
  /**
   * Puts the ids that were said in place of the assistant's tokens, wherever the same text was said
   * in the same scope after the same prompt.
   * @param maxPromptTokens a prompt that would become longer stays as it is
   * @returns the prompt itself when nothing changes
   */
  resolve(prompt: PreparedPrompt, maxPromptTokens?: number): PreparedPrompt;
}

export interface SaidText {
  readonly span: TokenSpan;
  /** Of the text and all before it, hashed; unique within a scope, but for collisions. */
  readonly key: string;
  readonly bytes: Uint8Array;
  /** null: not known. */
  readonly ids: Int32Array | null;
}

export interface SaidIds {
  readonly key: string;
  readonly ids: Int32Array;
}

export interface SaidSize {
  readonly texts: number;
  /** Ids of all texts, and {@link TEXT_COST_TOKENS} for each text. */
  readonly tokens: number;
}

export interface SaidMemoryOptions {
  /** Bound of `size.tokens`; the least recently used texts go first. */
  readonly maxTokens: number;
  readonly tokens: TokenBytes;
  readonly tokensPerImage: number;
}

/** What keeping one text costs beside its ids, in ids: its key, which holds the scope, and its entry. */
export const TEXT_COST_TOKENS = 128;

const NO_IDS = new Int32Array(0);
/** Around a text among the words of a hash. */
const TEXT_MARK = [-1];

interface Replacement {
  readonly span: TokenSpan;
  readonly ids: Int32Array;
}

/** Creates an empty memory. */
export function createSaidMemory(options: SaidMemoryOptions): SaidMemory {
  const { maxTokens, tokens, tokensPerImage } = options;
  /** By prompt, text and scope, least recently used first: among equal texts the newest stays. */
  const saidByKey = new Map<string, Int32Array>();
  let size = 0;

  function forget(key: string): void {
    const ids = saidByKey.get(key);
    if (ids === undefined) return;
    saidByKey.delete(key);
    size -= ids.length + TEXT_COST_TOKENS;
  }

  function keep(key: string, ids: Int32Array): void {
    forget(key);
    saidByKey.set(key, ids);
    size += ids.length + TEXT_COST_TOKENS;
    for (const oldest of saidByKey.keys()) {
      if (size <= maxTokens) break;
      forget(oldest);
    }
  }

  function bytesOf(ids: ArrayLike<number>): Uint8Array {
    const pieces = Array.from(ids, (id) => tokens.bytes(id));
    const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    let at = 0;
    for (const piece of pieces) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return bytes;
  }

  /** The ids that are exactly bytes [from, to) of what `ids` spell; null when none are. */
  function cut(ids: Int32Array, from: number, to: number): Int32Array | null {
    let start = 0;
    let at = 0;
    while (start < ids.length && at < from) at += tokens.bytes(ids[start++] ?? -1).length;
    if (at !== from) return null;
    let end = start;
    while (end < ids.length && at < to) {
      const { length } = tokens.bytes(ids[end++] ?? -1);
      // A special token inside is not in the text: its client never meant it to come back.
      if (length === 0) return null;
      at += length;
    }
    return at === to ? ids.slice(start, end) : null;
  }

  /** The ids said of that text; counts as a use. */
  function recall(key: string, text: Uint8Array): Int32Array | null {
    const ids = saidByKey.get(key);
    // The prompt is compared by its hash alone: where two collide, equal texts swap their ids. The
    // text itself is compared byte for byte, so no prompt ever says something else than was sent.
    if (ids === undefined || !spells(ids, text)) return null;
    saidByKey.delete(key);
    saidByKey.set(key, ids);
    return ids;
  }

  /** Whether these are tokens of the text and nothing else. */
  function spells(ids: Int32Array, text: Uint8Array): boolean {
    for (const id of ids) {
      if (id < 0 || id >= tokens.vocabSize || tokens.bytes(id).length === 0) return false;
    }
    return areEqual(bytesOf(ids), text);
  }

  /**
   * Walks through a prompt up to `end`. A text counts by its bytes, not its ids: whatever is known of
   * earlier texts, and in any order, the key of a text is the same.
   * @param visit gets each text of the assistant, and the hash of all before it
   * @returns the hash of all
   */
  function walk(
    prompt: PreparedPrompt,
    end: number,
    visit: (span: TokenSpan, bytes: Uint8Array, before: WordHash) => void,
  ): WordHash {
    const content = contentOf(prompt, tokensPerImage);
    const hash = createWordHash();
    let hashed = 0;
    for (const span of prompt.assistantSpans) {
      if (span.start >= end) break;
      hash.add(content, hashed, span.start);
      hashed = span.end;
      const bytes = bytesOf(prompt.tokens.subarray(span.start, span.end));
      visit(span, bytes, hash);
      hash.add(TEXT_MARK, 0, 1);
      hash.add(bytes, 0, bytes.length);
      hash.add(TEXT_MARK, 0, 1);
    }
    hash.add(content, hashed, end);
    return hash;
  }

  function texts(prompt: PreparedPrompt): readonly SaidText[] {
    const found: SaidText[] = [];
    walk(prompt, prompt.tokens.length, (span, bytes, before) => {
      const key = keyOf(before, bytes);
      found.push({ span, key, bytes, ids: recall(scoped(prompt.scope, key), bytes) });
    });
    return found;
  }

  return {
    get size() {
      return { texts: saidByKey.size, tokens: size };
    },
    texts,
    remember(prompt, ids, textBytes) {
      if (textBytes === 0) return null;
      // A message left open is one text with its continuation.
      const last = prompt.assistantSpans.at(-1);
      const isOpen = last?.end === prompt.tokens.length;
      const head = isOpen ? prompt.tokens.subarray(last.start) : NO_IDS;
      const all = new Int32Array(head.length + ids.length);
      all.set(head);
      all.set(ids, head.length);
      const bytes = bytesOf(all).subarray(0, bytesOf(head).length + textBytes);
      // What is no UTF-8 was shown as U+FFFD and comes back as that.
      if (!isUtf8(bytes, 0, bytes.length)) return null;
      const [from, to] = trimmedRange(bytes);
      const said = from === to ? null : cut(all, from, to);
      if (said === null || said.length + TEXT_COST_TOKENS > maxTokens) return null;
      const before = walk(prompt, prompt.tokens.length - head.length, () => undefined);
      const key = keyOf(before, bytes.subarray(from, to));
      keep(scoped(prompt.scope, key), said);
      return { key, ids: said };
    },
    resolve(prompt, maxPromptTokens = Number.POSITIVE_INFINITY) {
      if (saidByKey.size === 0 || prompt.assistantSpans.length === 0) return prompt;
      const replacements: Replacement[] = [];
      let { length } = prompt.tokens;
      for (const { span, ids } of texts(prompt)) {
        const own = prompt.tokens.subarray(span.start, span.end);
        if (ids === null || areEqual(ids, own)) continue;
        replacements.push({ span, ids });
        length += ids.length - own.length;
      }
      if (replacements.length === 0 || length > maxPromptTokens) return prompt;
      return replace(prompt, replacements, length);
    },
    learn(scope, { key, bytes }, ids) {
      if (!spells(ids, bytes)) return false;
      if (ids.length + TEXT_COST_TOKENS <= maxTokens) keep(scoped(scope, key), ids);
      return true;
    },
    forget(scope, keys) {
      for (const key of keys) forget(scoped(scope, key));
    },
  };
}

/** Bytes [from, to) of the text without the whitespace at its ends. */
function trimmedRange(bytes: Uint8Array): readonly [from: number, to: number] {
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
  const trimmed = trimWhitespace(text);
  const encoder = new TextEncoder();
  // It begins with the first character that is no whitespace, so it is not found any earlier.
  const from = encoder.encode(text.slice(0, text.indexOf(trimmed))).length;
  return [from, from + encoder.encode(trimmed).length];
}

/** @param length of the result, in tokens */
function replace(
  prompt: PreparedPrompt,
  replacements: readonly Replacement[],
  length: number,
): PreparedPrompt {
  const tokens = new Int32Array(length);
  let from = 0;
  let to = 0;
  for (const { span, ids } of replacements) {
    tokens.set(prompt.tokens.subarray(from, span.start), to);
    to += span.start - from;
    tokens.set(ids, to);
    to += ids.length;
    from = span.end;
  }
  tokens.set(prompt.tokens.subarray(from), to);

  /** Where a position of the prompt comes to be; the ends of a replaced span are its new ends. */
  const moved = (position: number): number => {
    let place = position;
    for (const { span, ids } of replacements) {
      if (span.end <= position) place += ids.length - (span.end - span.start);
    }
    return place;
  };
  return {
    ...prompt,
    tokens,
    images: prompt.images.map(({ position, image }) => ({ position: moved(position), image })),
    assistantSpans: prompt.assistantSpans.map(({ start, end }) => ({
      start: moved(start),
      end: moved(end),
    })),
  };
}

function areEqual(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false;
  return true;
}

function keyOf(before: WordHash, text: Uint8Array): string {
  const whole = before.copy();
  whole.add(text, 0, text.length);
  return `${before.digest()} ${whole.digest()}`;
}

/** In the memory's map: the scope stands in it as it is, only the prompt and the text are hashed. */
function scoped(scope: string, key: string): string {
  return `${key} ${scope}`;
}
