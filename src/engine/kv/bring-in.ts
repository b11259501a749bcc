import type { EndedTurn } from '../local-engine.ts';
import type { Sequence } from '../sequence.ts';
import type { KvMemory } from './kv-memory.ts';
import type { KvContent, KvStore } from './kv-store.ts';

export interface BringInOptions {
  readonly kv: KvMemory;
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
  /** Brings what the store holds of a waiting prompt into host memory. */
  fetch(sequence: Sequence, signal?: AbortSignal): Promise<void>;
  /** Hands what a sequence has computed to the store; call it while it still has its row. */
  keep(sequence: Sequence): Promise<void>;
}

const SOUGHT_TOKENS = 32;

export function createBringIn(options: BringInOptions): BringIn {
  const { kv, store, pageTokens } = options;
  return {
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
      const pages = await store.fetch(contentOfSequence(sequence), from, limit, rate, signal);
      kv.addPages(scope, words, pages);
    },
    async keep(sequence) {
      const session = sequence.prompt.session ?? null;
      if (sequence.isBroken || sequence.computed < 1) return;
      if (store === null && session === null) return;
      const words = sequence.words.slice(0, sequence.computed);
      const content = { ...contentOfSequence(sequence), words };
      if (store !== null) {
        await kv.save(sequence);
        store.keep(content, kv.pagesOf(sequence.scope, words));
      }
      if (session === null || sequence.outcome === 'error') return;
      options.onTurn({ session, content, cachedTokens: sequence.cachedTokens });
    },
  };
}

function contentOfSequence({ scope, words, prompt }: Sequence): KvContent {
  const images = prompt.images.map(({ position, image }) => ({ position, sha256: image.sha256 }));
  return { scope, words, images };
}
