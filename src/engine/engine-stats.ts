import type { Backend } from './backend.ts';
import type { EngineStats } from './engine.ts';
import type { ImageEncoder } from './image-encoder.ts';
import type { KvMemory } from './kv/kv-memory.ts';
import type { KvStore } from './kv/kv-store.ts';
import type { StepLoop } from './step-loop.ts';

interface Parts {
  readonly backend: Backend;
  readonly kv: KvMemory;
  readonly encoder: ImageEncoder;
  readonly loop: StepLoop;
  readonly kvStore: KvStore | null;
  readonly budgetBytes: number;
}

/** Gauges and counters of an engine's parts, as they are now. */
export function engineStats({
  backend,
  kv,
  encoder,
  loop,
  kvStore,
  budgetBytes,
}: Parts): EngineStats {
  const { running, waiting, totals } = loop;
  const { warmRows, pages, hits, queryTokens, restored } = kv.stats();
  const images = encoder.stats();
  const used = running.reduce((sum, { computed }) => sum + computed, 0);
  return {
    running: running.length,
    waiting: waiting.length,
    rowCount: backend.rowCount,
    warmRows,
    kvUsage: used / (backend.rowCount * backend.rowTokens),
    pages: { count: pages.count, bytes: pages.bytes, budgetBytes },
    store: kvStore?.stats() ?? null,
    totals: {
      ...totals,
      prefixQueryTokens: queryTokens,
      prefixHitTokens: hits,
      pagesWritten: pages.written,
      pagesRestored: restored,
      pagesEvicted: pages.evicted,
      imagesEncoded: images.encoded,
      imageHits: images.hits,
    },
  };
}
