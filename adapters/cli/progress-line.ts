import { formatBytes } from '../node/memory-fit.ts';

/** One line on stderr that says how far something is; nothing where nobody watches. */
export interface ProgressLine {
  show(doneBytes: number, totalBytes: number): void;
  /** Ends the line; may be called again. */
  end(): void;
}

const EVERY_MS = 250;

/** @param verb such as `packed` */
export function createProgressLine(
  verb: string,
  out: { isTTY?: boolean; write(text: string): unknown } = process.stderr,
): ProgressLine {
  const startedMs = performance.now();
  let shownMs = -Infinity;
  let isOpen = false;
  return {
    show(doneBytes, totalBytes) {
      const nowMs = performance.now();
      if (out.isTTY !== true || nowMs - shownMs < EVERY_MS) return;
      shownMs = nowMs;
      isOpen = true;
      const rate = doneBytes / Math.max(0.001, (nowMs - startedMs) / 1000);
      const left = Math.max(0, totalBytes - doneBytes) / Math.max(1, rate);
      const part = Math.min(100, Math.floor((100 * doneBytes) / Math.max(1, totalBytes)));
      out.write(
        `\r${verb} ${formatBytes(doneBytes)} of about ${formatBytes(totalBytes)} (${part} %), ${formatBytes(rate)}/s, ${Math.ceil(left)} s left   `,
      );
    },
    end() {
      if (isOpen) out.write('\n');
      isOpen = false;
    },
  };
}
