import type { GenerateEvent, PreparedPrompt, PromptImage } from '../engine/engine.ts';
import type { VisionConfig } from '../model/config.ts';

/**
 * One answer, whichever replicas it comes from: what was said already goes with the prompt to the next
 * one, which goes on from there.
 */
export interface AnswerSoFar {
  /** What the next replica gets. */
  readonly prompt: PreparedPrompt;
  /** Whether the reader has heard of it. */
  readonly hasBegun: boolean;
  readonly ids: readonly number[];
  readonly textBytes: number;
  /** @returns what its reader gets of the event; null is nothing */
  take(event: GenerateEvent, nowMs: number): GenerateEvent | null;
  /** Another replica goes on. */
  restart(): void;
}

export function createAnswerSoFar(asked: PreparedPrompt, vision: VisionConfig | null): AnswerSoFar {
  let prompt = asked;
  let begun: Extract<GenerateEvent, { type: 'prefill-end' }> | null = null;
  let begunMs = 0;
  let textBytes = 0;
  let restarts = 0;
  const ids: number[] = [];

  return {
    get prompt() {
      return begun === null ? prompt : { ...prompt, answer: Int32Array.from(ids) };
    },
    get hasBegun() {
      return begun !== null;
    },
    ids,
    get textBytes() {
      return textBytes;
    },
    take(event, nowMs) {
      switch (event.type) {
        case 'prefill-end':
          // Computed again elsewhere: nothing new to who reads.
          if (begun !== null) return null;
          begun = event;
          begunMs = nowMs;
          prompt = asComputed(asked, event.tokens, vision);
          return event;
        case 'token':
          ids.push(event.id);
          textBytes += event.bytes.length;
          return event;
        case 'finish': {
          textBytes += event.bytes.length;
          if (begun === null || restarts === 0) return event;
          const { promptTokens, cachedTokens } = begun;
          const { timings } = event;
          const decodeMs = Math.max(timings.decodeMs, nowMs - begunMs);
          return { ...event, promptTokens, cachedTokens, timings: { ...timings, decodeMs } };
        }
        default:
          return event satisfies never;
      }
    },
    restart() {
      restarts++;
    },
  };
}

/** The prompt with the ids it was computed with, which may be those that the replica had said before. */
function asComputed(
  asked: PreparedPrompt,
  tokens: Int32Array,
  vision: VisionConfig | null,
): PreparedPrompt {
  const isSame =
    tokens.length === asked.tokens.length && tokens.every((id, at) => id === asked.tokens[at]);
  if (isSame) return asked;
  const images: PromptImage[] = [];
  const { imageTokenId, tokensPerImage } = vision ?? { imageTokenId: -1, tokensPerImage: 0 };
  for (let at = 0; at < tokens.length; at++) {
    const next = asked.images[images.length];
    if (tokens[at] !== imageTokenId || next === undefined) continue;
    images.push({ position: at, image: next.image });
    at += tokensPerImage - 1;
  }
  // Where its texts lie now is not known, and need not be: its ids are final.
  return { ...asked, tokens, images, assistantSpans: [] };
}
