import type { PreparedPrompt } from '../engine.ts';
import type { EndedTurn } from '../local-engine.ts';
import type { SaidIds, SaidMemory } from '../said.ts';
import type { Sequence } from '../sequence.ts';
import { contentOf } from './content.ts';
import type { KvMemory } from './kv-memory.ts';
import type { KvContent, KvStore } from './kv-store.ts';

export interface BringInOptions {
  readonly kv: KvMemory;
  readonly said: SaidMemory;
  readonly tokensPerImage: number;
  /** null: nothing outlives this process. */
  readonly store: KvStore | null;
  /** Tokens of a page. */
  readonly pageTokens: number;
  /** How fast prompts are computed now; null: not known. */
  readonly prefillTokensPerSecond: () => number | null;
  /** A turn of a session is over. */
  readonly onTurn: (turn: EndedTurn) => void;
}

/**
 * Pages on their way between host memory and a store. Prompts are fetched before they queue, so that
 * what runs does not wait for them; turns are kept when they end.
 */
export interface BringIn {
  /**
   * Brings the ids that other processes said the assistant's texts with into memory, where the texts
   * lie beyond what is here: with them, what the store holds of the prompt reaches further.
   */
  recall(prompt: PreparedPrompt, signal?: AbortSignal): Promise<void>;
  /** Brings what the store holds of a waiting prompt into host memory. */
  fetch(sequence: Sequence, signal?: AbortSignal): Promise<void>;
  /** Hands what a sequence has computed to the store; call it while it still has its row. */
  keep(sequence: Sequence): Promise<void>;
  /** Removes from the store what a sequence has computed or reused. */
  distrust(sequence: Sequence): Promise<void>;
}

const SOUGHT_TOKENS = 32;

export function createBringIn(options: BringInOptions): BringIn {
  const { kv, said, store, pageTokens, tokensPerImage } = options;

  /** Answers in a sequence's prompt, and its own. */
  function saidIn(sequence: Sequence): readonly SaidIds[] {
    const before = said.texts(sequence.prompt);
    const own = rememberSaid(said, sequence);
    const all = before.flatMap(({ key, ids }) => (ids === null ? [] : [{ key, ids }]));
    return own === null ? all : [...all, own];
  }

  return {
    async recall(prompt, signal) {
      const { scope, tokens } = prompt;
      if (store === null || tokens.length < SOUGHT_TOKENS) return;
      const unknown = said
        .texts(prompt)
        .filter(({ ids, bytes }) => ids === null && bytes.length > 0);
      if (unknown.length === 0) return;
      const { deviceTokens, hostTokens } = kv.where(scope, contentOf(prompt, tokensPerImage));
      const held = Math.max(deviceTokens, hostTokens);
      const wanted = unknown
        .filter(({ span }) => span.end > held)
        .map((text) => ({
          key: text.key,
          maxIds: text.bytes.length,
          take: (ids: Int32Array) => said.learn(scope, text, ids),
        }));
      if (wanted.length === 0) return;
      const rate = options.prefillTokensPerSecond();
      await store.fetchSaid(scope, wanted, tokens.length - held, rate, signal);
    },
    async fetch(sequence, signal) {
      if (store === null) return;
      const limit = sequence.reusableTokens;
      const held = kv.find(sequence)?.cachedTokens ?? 0;
      // So few are computed sooner than looked for.
      if (limit - held < SOUGHT_TOKENS) return;
      const { scope, words } = sequence;
      const here = kv.pagesOf(scope, words.subarray(0, limit));
      let from = 0;
      for (const { start, count } of here) if (count === pageTokens) from = start + count;
      const rate = options.prefillTokensPerSecond();
      const content = contentOfSequence(sequence);
      const { pages, choice, length } = await store.fetch(content, from, limit, rate, signal);
      const tokens = Math.min(length, limit) - held;
      if (choice !== null && tokens > 0) sequence.store = { choice, tokens };
      kv.addPages(scope, words, pages);
    },
    async keep(sequence) {
      const session = sequence.prompt.session ?? null;
      if (sequence.isBroken || sequence.computed < 1) return;
      if (store === null && session === null) return;
      const words = computedWords(sequence);
      const known = store === null ? [] : saidIn(sequence);
      const keys = known.map(({ key }) => key);
      const content = { ...contentOfSequence(sequence), words, said: keys };
      if (store !== null) {
        await kv.save(sequence);
        store.keep(content, kv.pagesOf(sequence.scope, words), known);
      }
      if (session === null || sequence.outcome === 'error') return;
      options.onTurn({ session, content, cachedTokens: sequence.cachedTokens });
    },
    async distrust(sequence) {
      const content = { ...contentOfSequence(sequence), words: computedWords(sequence) };
      await store?.forget(content, []);
    },
  };
}

function contentOfSequence({ scope, words, prompt }: Sequence): KvContent {
  const images = prompt.images.map(({ position, image }) => ({ position, sha256: image.sha256 }));
  return { scope, words, images };
}

function computedWords({ words, computed }: Sequence): Int32Array {
  return words.slice(0, computed);
}

/** Keeps what a sequence that came to its end has said. */
export function rememberSaid(said: SaidMemory, sequence: Sequence): SaidIds | null {
  if (sequence.outcome !== 'stop' && sequence.outcome !== 'length') return null;
  return said.remember(sequence.prompt, sequence.completion, sequence.textBytes);
}
