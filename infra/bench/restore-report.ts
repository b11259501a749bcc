import { int8Bytes } from '../../src/engine/kv/store/int8-codec.ts';
import { breakEvenTokens, type KvShape } from '../../src/engine/kv/store/restore-decision.ts';
import type { KvStoreFormat } from './gemlet-streams.ts';
import type { TurnResult } from './restore-suite.ts';

export interface RestoreRow {
  readonly size: string;
  readonly history: number;
  /** Gbit/s */
  readonly rate: number;
  readonly format: KvStoreFormat;
  /** Writes the pages. */
  readonly first: TurnResult;
  /** The next turn without a store. */
  readonly again: TurnResult;
  readonly restored: TurnResult;
  /** By a process that has learned the rates of link and device. */
  readonly chosen: TurnResult;
}

interface Shape {
  readonly name: string;
  readonly kvTokenBytes: { readonly global: number; readonly local: number };
  readonly headDim: number;
  readonly windowTokens: number;
  /** How much slower than the measured model it computes. */
  readonly scale: number;
}

/** Shapes whose break-even is worked out: bytes a token as gemlet keeps them (fp32), parameters. */
const OTHERS: readonly Shape[] = [
  {
    name: '4b',
    kvTokenBytes: { global: 5 * 2 * 4 * 256 * 4, local: 29 * 2 * 4 * 256 * 4 },
    headDim: 256,
    windowTokens: 1024,
    scale: 3.9,
  },
  {
    name: '27b',
    kvTokenBytes: { global: 10 * 2 * 16 * 128 * 4, local: 52 * 2 * 16 * 128 * 4 },
    headDim: 128,
    windowTokens: 1024,
    scale: 27,
  },
];

const LATENCY_MS = 5;

export function formatRestore(rows: readonly RestoreRow[]): string {
  const lines = [
    'Time to the first token of the next turn in a fresh process, single runs. `chosen`: by a process that',
    'has learned the rates of link and device from another conversation; `faster` is what was measured so.',
    '',
    '| model | pages | history | Gbit/s | restored | computed again | faster | chosen | cached | moved | keys and values of all tokens | written after turn 1 |',
    '|---|---|---|---|---|---|---|---|---|---|---|---|',
  ];
  for (const { size, history, rate, format, first, again, restored, chosen } of rows) {
    const { global, local } = restored.kvTokenBytes;
    const faster = restored.firstTokenMs <= again.firstTokenMs ? 'restore' : 'recompute';
    lines.push(
      `| ${size} | ${format} | ${history} | ${rate} | ${seconds(restored.firstTokenMs)} | ${seconds(again.firstTokenMs)} | ${faster} | ${chosen.choice ?? 'nothing in time'}, ${seconds(chosen.firstTokenMs)} | ${restored.cachedTokens} of ${restored.promptTokens} | ${megabytes(restored.fetchedBytes)} | ${megabytes(history * (global + local))} | ${megabytes(first.writtenBytes)} |`,
    );
  }
  return [...lines, ...breakEvenLines(rows)].join('\n');
}

function breakEvenLines(rows: readonly RestoreRow[]): readonly string[] {
  const [row] = rows;
  if (row === undefined) return [];
  const tokensPerSecond = (row.again.promptTokens * 1000) / row.again.firstTokenMs;
  const rates = [...new Set(rows.map(({ rate }) => rate))];
  const { kvTokenBytes, headDim, windowTokens } = row.restored;
  const shapes = [
    { name: row.size, kvTokenBytes, headDim, windowTokens, scale: 1 },
    ...OTHERS.filter(({ name }) => name !== row.size),
  ];
  const lines = shapes.flatMap((shape) =>
    (['exact', 'int8'] as const).map((format) => {
      const cells = rates.map((rate) => {
        const tokens = breakEvenTokens(stored(shape, format), {
          latencyMs: LATENCY_MS,
          bytesPerSecond: (rate * 1e9) / 8,
          tokensPerSecond: tokensPerSecond / shape.scale,
        });
        return tokens === null ? 'never' : String(tokens);
      });
      return `| ${shape.name}, ${format} | ${cells.join(' | ')} |`;
    }),
  );
  return [
    '',
    `From how many tokens on a restore is faster, at ${LATENCY_MS} ms of latency. ${row.size} computes ${tokensPerSecond.toFixed(0)} tokens/s here (measured); the others are taken to be slower by their parameters (stated).`,
    '',
    `| model, pages | ${rates.map((rate) => `${rate} Gbit/s`).join(' | ')} |`,
    `|---|${'---|'.repeat(rates.length)}`,
    ...lines,
  ];
}

function stored({ kvTokenBytes, headDim, windowTokens }: Shape, format: KvStoreFormat): KvShape {
  if (format === 'exact') return { kvTokenBytes, windowTokens };
  const { global, local } = kvTokenBytes;
  return {
    kvTokenBytes: { global: int8Bytes(global, headDim), local: int8Bytes(local, headDim) },
    windowTokens,
  };
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
