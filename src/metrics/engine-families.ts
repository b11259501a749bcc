import type { Completer } from '../completer.ts';
import type { EngineStats } from '../engine/engine.ts';
import { createReading, type Family, type Labels } from './registry.ts';

type Reading = readonly { readonly labels?: Labels; readonly value: number }[];

/** What the engine counts itself, read when it is asked for; nothing where there is no engine. */
export function engineFamilies(completer: Completer): readonly Family[] {
  const of =
    (read: (stats: EngineStats) => Reading | number): (() => Reading) =>
    () => {
      const stats = completer.stats?.();
      if (stats === undefined) return [];
      const value = read(stats);
      return typeof value === 'number' ? [{ value }] : value;
    };
  const gauge = (name: string, help: string, read: (stats: EngineStats) => Reading | number) =>
    createReading(name, help, 'gauge', of(read));
  const counter = (name: string, help: string, read: (stats: EngineStats) => Reading | number) =>
    createReading(name, help, 'counter', of(read));
  return [
    gauge('vllm:num_requests_running', 'Sequences that have a row.', (s) => s.running),
    gauge('vllm:num_requests_waiting', 'Sequences that wait for a row.', (s) => s.waiting),
    gauge(
      'vllm:kv_cache_usage_perc',
      'Part of the row tokens used by running sequences; 1 is all.',
      (s) => s.kvUsage,
    ),
    counter(
      'vllm:prefix_cache_queries_total',
      'Prompt tokens looked up for reuse.',
      (s) => s.totals.prefixQueryTokens,
    ),
    counter('vllm:prefix_cache_hits_total', 'Prompt tokens reused.', (s) => {
      const { row, copy, pages } = s.totals.prefixHitTokens;
      return row + copy + pages;
    }),
    counter(
      'vllm:num_preemptions_total',
      'Running sequences that made way for waiting ones.',
      (s) => s.totals.preemptions,
    ),
    counter(
      'gemlet_fair_preemptions_total',
      'Running sequences whose row went to another API key, which had fewer.',
      (s) => s.totals.fairPreemptions,
    ),
    counter(
      'gemlet_stalled_readers_total',
      'Answers given up because nobody read them.',
      (s) => s.totals.stalledReaders,
    ),
    counter(
      'gemlet_displaced_requests_total',
      'Waiting requests refused because other API keys had fewer places in the queue.',
      (s) => s.totals.displaced,
    ),
    counter(
      'gemlet_distrusted_reuse_total',
      'Sequences computed anew because what was reused for them gave no usable logits.',
      (s) => s.totals.distrusted,
    ),
    counter(
      'vllm:spec_decode_num_drafts_total',
      'Times that the next tokens of an answer were guessed.',
      (s) => s.totals.speculation.drafts,
    ),
    counter(
      'vllm:spec_decode_num_draft_tokens_total',
      'Tokens guessed.',
      (s) => s.totals.speculation.draftTokens,
    ),
    counter(
      'vllm:spec_decode_num_accepted_tokens_total',
      'Tokens guessed right.',
      (s) => s.totals.speculation.acceptedTokens,
    ),
    gauge('gemlet_rows', 'KV rows by state.', (s) =>
      byLabel('state', {
        running: s.running,
        warm: s.warmRows,
        free: s.rowCount - s.running - s.warmRows,
      }),
    ),
    gauge('gemlet_kv_pages', 'KV pages in host memory.', (s) => s.pages.count),
    gauge('gemlet_kv_page_bytes', 'Bytes of KV pages in host memory.', (s) => s.pages.bytes),
    gauge(
      'gemlet_kv_page_budget_bytes',
      'Bytes that KV pages may take.',
      (s) => s.pages.budgetBytes,
    ),
    counter('gemlet_prefix_hit_tokens_total', 'Prompt tokens reused, by where they were.', (s) =>
      byLabel('tier', { ...s.totals.prefixHitTokens }),
    ),
    gauge('gemlet_kv_store_queued_bytes', 'Bytes of KV pages not yet in the store.', (s) =>
      s.store === null ? [] : [{ value: s.store.queuedBytes }],
    ),
    gauge('gemlet_kv_store_bytes', 'Bytes of KV pages in the store, as far as is known.', (s) => {
      const { storedBytes = null } = s.store ?? {};
      return storedBytes === null ? [] : [{ value: storedBytes }];
    }),
    gauge('gemlet_kv_store_limit_bytes', 'Bytes that KV pages in the store may take.', (s) =>
      s.store === null || s.store.maxBytes === Infinity ? [] : [{ value: s.store.maxBytes }],
    ),
    counter('gemlet_kv_store_pages_total', 'KV pages of the store by what happened to them.', (s) =>
      s.store === null
        ? []
        : byLabel('event', {
            written: s.store.writtenPages,
            dropped: s.store.droppedPages,
            evicted: s.store.evictedPages,
            fetched: s.store.fetchedPages,
            ...s.store.refused,
          }),
    ),
    counter(
      'gemlet_kv_store_decisions_total',
      'Prompts whose start was in the store, by what was faster.',
      (s) => (s.store === null ? [] : byLabel('choice', { ...s.store.decisions })),
    ),
    counter('gemlet_kv_store_bytes_total', 'Bytes moved to and from the store.', (s) =>
      s.store === null
        ? []
        : byLabel('direction', { written: s.store.writtenBytes, fetched: s.store.fetchedBytes }),
    ),
    counter('gemlet_pages_total', 'KV pages by what happened to them.', (s) =>
      byLabel('event', {
        written: s.totals.pagesWritten,
        restored: s.totals.pagesRestored,
        evicted: s.totals.pagesEvicted,
      }),
    ),
    counter(
      'gemlet_recomputed_tokens_total',
      'Tokens computed again after a preemption.',
      (s) => s.totals.recomputedTokens,
    ),
    counter('gemlet_images_total', 'Images by how their embeddings came.', (s) =>
      byLabel('event', { encoded: s.totals.imagesEncoded, reused: s.totals.imageHits }),
    ),
    counter('gemlet_steps_total', 'Steps computed.', (s) => s.totals.steps),
    counter('gemlet_phase_seconds_total', 'Time by what it was spent on.', (s) => {
      const { decode, prefill, mixed, rowMoves } = s.totals.phaseMs;
      return byLabel('phase', {
        decode: decode / 1000,
        prefill: prefill / 1000,
        mixed: mixed / 1000,
        row_moves: rowMoves / 1000,
      });
    }),
  ];
}

function byLabel(label: string, values: Readonly<Record<string, number>>): Reading {
  return Object.entries(values).map(([name, value]) => ({ labels: { [label]: name }, value }));
}
