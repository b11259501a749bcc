import type { KvContent } from '../../src/engine/kv/kv-store.ts';
import type { SessionMemory } from '../../src/sessions/session.ts';

/** Pages of four tokens, each named by all that comes before it; held once, however many share it. */
export interface FakeSessionMemory extends SessionMemory {
  readonly pages: Set<string>;
  hold(content: KvContent): void;
  /** Looks at every `forget`, and may fail it or make it wait. */
  onForget: (content: KvContent) => void | Promise<void>;
}

const PAGE_TOKENS = 4;
const PAGE_BYTES = 100;

export function createFakeSessionMemory(): FakeSessionMemory {
  const pages = new Set<string>();
  const self: FakeSessionMemory = {
    pages,
    onForget: () => undefined,
    hold(content) {
      for (const page of pagesOf(content)) pages.add(page);
    },
    where(content) {
      const names = pagesOf(content);
      const missing = names.findIndex((name) => !pages.has(name));
      const count = missing < 0 ? names.length : missing;
      const tokens = count * PAGE_TOKENS;
      const sizeBytes = count * PAGE_BYTES;
      return {
        deviceTokens: 0,
        hostTokens: tokens,
        hostBytes: sizeBytes,
        storeTokens: tokens,
        storeBytes: sizeBytes,
      };
    },
    async forget(content, sharedWith) {
      await self.onForget(content);
      const shared = new Set(sharedWith.flatMap(pagesOf));
      for (const page of pagesOf(content)) if (!shared.has(page)) pages.delete(page);
    },
  };
  return self;
}

/** A content of these words. */
export function contentOfWords(all: readonly number[], scope = ''): KvContent {
  return { scope, words: Int32Array.from(all), images: [] };
}

/** `count` words from `first` on. */
export function words(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + index);
}

function pagesOf({ scope, words: all }: KvContent): string[] {
  const count = Math.floor(all.length / PAGE_TOKENS);
  return Array.from({ length: count }, (_, index) => {
    return `${scope}:${all.slice(0, (index + 1) * PAGE_TOKENS).join()}`;
  });
}
