import { BATCH_TOKENS, openLlama, type LlamaSettings } from './llama-engine.ts';
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
export async function createLlamaStreams(
  settings: LlamaSettings & StreamEngineSettings,
): Promise<StreamEngine> {
  const llama = await openLlama(settings, settings.rowCount);
  const { native, label } = llama;
  const none = new Uint32Array(0);

  /** One batch: a token of each stream and tokens [start, end) of a prompt of another sequence. */
  async function step(
    streams: readonly Stream[],
    prompt?: { sequence: number; tokens: Int32Array; start: number; end: number },
  ): Promise<void> {
    const promptTokens = prompt === undefined ? 0 : prompt.end - prompt.start;
    native.initBatch(streams.length + promptTokens);
    for (const { sequence, length } of streams) {
      native.addToBatch(sequence, length, Uint32Array.of(SOME_TOKEN), Uint32Array.of(0));
    }
    if (prompt !== undefined) {
      const { sequence, tokens, start, end } = prompt;
      const wanted = end === tokens.length ? Uint32Array.of(promptTokens - 1) : none;
      native.addToBatch(sequence, start, Uint32Array.from(tokens.subarray(start, end)), wanted);
    }
    await native.decodeBatch();
    for (const stream of streams) stream.length++;
  }

  async function prefill(prompts: readonly Int32Array[]): Promise<Stream[]> {
    const streams: Stream[] = [];
    for (const [sequence, tokens] of prompts.entries()) {
      for (let from = 0; from < tokens.length; from += BATCH_TOKENS) {
        const end = Math.min(tokens.length, from + BATCH_TOKENS);
        await step([], { sequence, tokens, start: from, end });
      }
      streams.push({ sequence, length: tokens.length });
    }
    return streams;
  }

  function reset(count: number): void {
    for (let sequence = 0; sequence < count; sequence++) native.disposeSequence(sequence);
  }

  return {
    label,
    async throughput(prompts, decodeTokens) {
      const streams = await prefill(prompts);
      await step(streams);
      const startedMs = performance.now();
      for (let at = 0; at < decodeTokens; at++) await step(streams);
      const seconds = (performance.now() - startedMs) / 1000;
      reset(streams.length);
      return (decodeTokens * streams.length) / seconds;
    },
    async gaps(prompts, arrivals) {
      const streams = await prefill(prompts);
      const alone: number[] = [];
      for (let at = 0; at < ALONE_TOKENS; at++) {
        const startedMs = performance.now();
        await step(streams);
        alone.push(performance.now() - startedMs);
      }
      const gapsMs: number[] = [];
      const arrivalMs: number[] = [];
      const sequence = streams.length;
      for (const { tokens, images } of arrivals) {
        if (images.length > 0) throw new RangeError('node-llama-cpp takes no images');
        const arrivedMs = performance.now();
        for (let from = 0; from < tokens.length;) {
          const end = Math.min(tokens.length, from + BATCH_TOKENS - streams.length);
          const startedMs = performance.now();
          await step(streams, { sequence, tokens, start: from, end });
          // Every stream waited as long.
          for (const _ of streams) gapsMs.push(performance.now() - startedMs);
          from = end;
        }
        arrivalMs.push(performance.now() - arrivedMs);
        native.disposeSequence(sequence);
      }
      reset(streams.length);
      return { gapsMs, arrivalMs, aloneMs: median(alone) };
    },
    close: () => llama.close(),
  };
}
