/** Cuts a text that comes in pieces before the first stop string. */
export interface StopFilter {
  /** Text that is certain; what may begin a stop string is held back. */
  push(text: string): string;
  /**
   * Ends the text: what is still held back.
   * @param cut the stop string that the server itself cut off, so that it was never seen whole
   */
  flush(cut: string | null): string;
  /** The stop string that ended it; null while none has. */
  readonly stopped: string | null;
}

/** For servers that show stop strings, whole or in part. Of several at one place the first listed ends it. */
export function createStopFilter(stops: readonly string[]): StopFilter {
  const longest = Math.max(0, ...stops.map((stop) => stop.length));
  let held = '';
  let stopped: string | null = null;
  return {
    push(text) {
      if (stopped !== null) return '';
      held += text;
      let end = -1;
      for (const stop of stops) {
        const at = held.indexOf(stop);
        if (at < 0 || (end >= 0 && at >= end)) continue;
        end = at;
        stopped = stop;
      }
      if (end < 0) end = held.length - heldLength(held, stops, longest);
      const free = held.slice(0, end);
      held = stopped === null ? held.slice(end) : '';
      return free;
    },
    flush(cut) {
      const end = cut === null ? 0 : heldLength(held, [cut], cut.length);
      const rest = held.slice(0, held.length - end);
      held = '';
      return rest;
    },
    get stopped() {
      return stopped;
    },
  };
}

/** Length of the longest end of `text` that begins a stop string. */
function heldLength(text: string, stops: readonly string[], longest: number): number {
  for (let length = Math.min(longest - 1, text.length); length > 0; length--) {
    const end = text.slice(-length);
    if (stops.some((stop) => stop.startsWith(end))) return length;
  }
  return 0;
}
