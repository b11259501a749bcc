import { openFrames, type FramesEnd, type FramesOptions } from '../lib/open-frames.ts';
import { errorBody, toServeError } from './error-body.ts';

export interface SseOptions extends FramesOptions {
  /** What the comment in a silence says, one line; `waiting` by default. */
  readonly heartbeat?: () => string;
}

export type SseEnd = FramesEnd;

/**
 * Turns items into the body of a server-sent event stream: one JSON frame per item, pulled one by
 * one, then `[DONE]`. A failure after the first byte travels as a frame with an `error` object.
 * @throws what the first item failed with, when that happens within the grace period
 */
export function openSse(
  items: AsyncIterable<unknown>,
  options: SseOptions,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const format = {
    frame,
    heartbeat: (): string => `: ${options.heartbeat?.() ?? 'waiting'}\n\n`,
    failure: (error: unknown): string => frame(errorBody(toServeError(error))),
    end: 'data: [DONE]\n\n',
  };
  return openFrames(items, format, options);
}

function frame(item: unknown): string {
  return `data: ${JSON.stringify(item)}\n\n`;
}
