import { breakEvenTokens } from '../../src/engine/kv/store/restore-decision.ts';
import type { TurnResult } from './restore-suite.ts';

export interface RestoreRow {
  readonly size: string;
  readonly history: number;
  /** Gbit/s */
  readonly rate: number;
  /** Writes the pages. */
  readonly first: TurnResult;
  /** The next turn without a store. */
  readonly again: TurnResult;
  readonly restored: TurnResult;
}

/** Shapes whose break-even is worked out: bytes a token as gemlet keeps them (fp32), parameters. */
const OTHERS = [
  {
    name: '4B',
    global: 5 * 2 * 4 * 256 * 4,
    local: 29 * 2 * 4 * 256 * 4,
    window: 1024,
    scale: 3.9,
  },
  {
    name: '27B',
    global: 10 * 2 * 16 * 128 * 4,
    local: 52 * 2 * 16 * 128 * 4,
    window: 1024,
    scale: 27,
  },
] as const;

export function formatRestore(rows: readonly RestoreRow[]): string {
  const lines = [
    'Time to the first token of the next turn in a fresh process, single runs.',
    '',
    '| model | history | Gbit/s | restored | computed again | cached | moved | keys and values of all tokens | written after turn 1 |',
    '|---|---|---|---|---|---|---|---|---|',
  ];
  for (const { size, history, rate, first, again, restored } of rows) {
    const { global, local } = restored.kvTokenBytes;
    lines.push(
      `| ${size} | ${history} | ${rate} | ${seconds(restored.firstTokenMs)} | ${seconds(again.firstTokenMs)} | ${restored.cachedTokens} of ${restored.promptTokens} | ${megabytes(restored.fetchedBytes)} | ${megabytes(history * (global + local))} | ${megabytes(first.writtenBytes)} |`,
    );
  }
  const [row] = rows;
  if (row === undefined) return lines.join('\n');
  const tokensPerSecond = (row.again.promptTokens * 1000) / row.again.firstTokenMs;
  lines.push(
    '',
    `From how many tokens on a restore is faster, at 5 ms of latency. ${row.size} computes ${tokensPerSecond.toFixed(0)} tokens/s here (measured); the others are taken to be slower by their parameters (stated).`,
    '',
    '| model | 1 Gbit/s | 3 Gbit/s | 10 Gbit/s |',
    '|---|---|---|---|',
  );
  const own = row.restored;
  const shapes = [
    { name: row.size, ...own.kvTokenBytes, window: own.windowTokens, scale: 1 },
    ...OTHERS,
  ];
  for (const { name, global, local, window, scale } of shapes) {
    const cells = [1, 3, 10].map((gigabits) => {
      const tokens = breakEvenTokens(
        { kvTokenBytes: { global, local }, windowTokens: window },
        {
          latencyMs: 5,
          bytesPerSecond: (gigabits * 1e9) / 8,
          tokensPerSecond: tokensPerSecond / scale,
        },
      );
      return tokens === null ? 'never' : String(tokens);
    });
    lines.push(`| ${name} | ${cells.join(' | ')} |`);
  }
  return lines.join('\n');
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
