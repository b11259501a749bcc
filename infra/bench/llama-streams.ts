import { BATCH_TOKENS, openLlama } from './llama-engine.ts';
import type { LlamaPart, LlamaSettings } from './llama-engine.ts';
import { median } from './stats.ts';
import { ALONE_TOKENS } from './stream-engine.ts';
import type { StreamEngine, StreamEngineSettings } from './stream-engine.ts';

/** An ordinary id in every Gemma vocabulary. */
const SOME_TOKEN = 1000;

interface Stream {
  readonly sequence: number;
  length: number;
}

/**
 * llama.cpp's continuous batching as its server does it: each `llama_decode` has the next token of
 * every running sequence, filled up to the batch size with tokens of arriving prompts. Its best case:
 * nothing is sampled, the tokens are made up, while ours includes sampling and all bookkeeping.
 */
export function createLlamaStreams(settings: LlamaSettings & StreamEngineSettings): StreamEngine {
  const llama = openLlama(settings, settings.rowCount);
  const someToken = Int32Array.of(SOME_TOKEN);

  /** One batch: a token of each stream, and part of a prompt. */
  function step(streams: readonly Stream[], prompt: readonly LlamaPart[] = []): void {
    const next = streams.map(({ sequence, length }) => ({
      sequence,
      start: length,
      tokens: someToken,
      wantsLast: true,
    }));
    llama.decode([...next, ...prompt]);
    for (const stream of streams) stream.length++;
  }

  /** Steps that compute a whole prompt; returns how long each took, in milliseconds. */
  function compute(
    sequence: number,
    tokens: Int32Array,
    beside: readonly Stream[],
  ): readonly number[] {
    const durationsMs: number[] = [];
    for (let start = 0; start < tokens.length;) {
      const end = Math.min(tokens.length, start + BATCH_TOKENS - beside.length);
      const part = { sequence, start, tokens: tokens.subarray(start, end) };
      const startedMs = performance.now();
      step(beside, [{ ...part, wantsLast: end === tokens.length }]);
      durationsMs.push(performance.now() - startedMs);
      start = end;
    }
    return durationsMs;
  }

  function prefill(prompts: readonly Int32Array[]): Stream[] {
    return prompts.map((tokens, sequence) => {
      compute(sequence, tokens, []);
      return { sequence, length: tokens.length };
    });
  }

  function reset(count: number): void {
    for (let sequence = 0; sequence < count; sequence++) llama.clear(sequence);
  }

  return {
    label: llama.label,
    async throughput(prompts, decodeTokens) {
      const streams = prefill(prompts);
      step(streams);
      const startedMs = performance.now();
      for (let at = 0; at < decodeTokens; at++) step(streams);
      const seconds = (performance.now() - startedMs) / 1000;
      reset(streams.length);
      return (decodeTokens * streams.length) / seconds;
    },
    async gaps(prompts, arrivals) {
      const streams = prefill(prompts);
      const alone: number[] = [];
      for (let at = 0; at < ALONE_TOKENS; at++) {
        const startedMs = performance.now();
        step(streams);
        alone.push(performance.now() - startedMs);
      }
      const gapsMs: number[] = [];
      const arrivalMs: number[] = [];
      for (const { tokens, images } of arrivals) {
        if (images.length > 0) throw new RangeError('llama.cpp takes no images here');
        const arrivedMs = performance.now();
        const durations = compute(streams.length, tokens, streams);
        arrivalMs.push(performance.now() - arrivedMs);
        // Every stream waited as long.
        gapsMs.push(...streams.flatMap(() => durations));
        llama.clear(streams.length);
      }
      reset(streams.length);
      return { gapsMs, arrivalMs, aloneMs: median(alone) };
    },
    close: async () => llama.close(),
  };
}
