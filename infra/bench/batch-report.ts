import { median, quantile } from './stats.ts';
import type { GapResult } from './stream-engine.ts';
import { TOWER_TITLE } from './vision-checkpoint.ts';

export interface BatchSettings {
  readonly size: string;
  /** Ascending. */
  readonly streams: readonly number[];
  readonly decodeTokens: number;
  /** Tokens of each arriving prompt; 0: none arrive. */
  readonly arriving: number;
  readonly arrivals: number;
  readonly images: number;
  readonly threads: number;
}

/** `flash` and `plain` are llama.cpp's two ways to attend. */
export type PartName = 'gemlet' | 'llama-flash' | 'llama-plain';

export interface PartResult {
  readonly label: string;
  /** Of all streams together, by number of streams; the engine has rows for the most. */
  readonly tokensPerSecond: readonly number[];
  /** Of one stream in an engine of one row; null unless one stream is among the numbers. */
  readonly aloneTokensPerSecond: number | null;
  readonly textGaps: GapResult | null;
  readonly imageGaps: GapResult | null;
}

export interface BatchRound {
  readonly gemlet: PartResult;
  readonly llama: PartResult;
}

/** The time budget of prompts beside running streams, as the engine has it by default. */
const BUDGET_MS = 250;
const GOAL_STREAMS = 8;

/** Ratio: gemlet / llama.cpp in speed, median [quartiles] of the rounds. */
export function formatBatch(settings: BatchSettings, rounds: readonly BatchRound[]): string {
  const { size, streams, threads, decodeTokens } = settings;
  const lines = [
    `## ${size}: many streams, ${threads} threads, ${rounds.length} rounds`,
    '',
    `${rounds[0]?.gemlet.label} beside ${rounds[0]?.llama.label}`,
    `Each stream is timed over ${decodeTokens} tokens while all decode, in an engine with a row for each`,
    'of the most streams. gemlet samples and reports every token; llama.cpp only computes logits. Where',
    "kernels ask for it, gemlet computes a lone stream beside a spare row; with one row it doesn't.",
    '',
    '| streams | gemlet, tokens/s | llama.cpp, tokens/s | ratio |',
    '|---|---|---|---|',
  ];
  const line = (name: string, speedOf: (part: PartResult) => number | null | undefined): void => {
    const ours = rounds.map(({ gemlet }) => speedOf(gemlet) ?? NaN);
    const theirs = rounds.map(({ llama }) => speedOf(llama) ?? NaN);
    const ratios = ours.map((speed, round) => speed / (theirs[round] ?? NaN));
    lines.push(
      `| ${name} | ${median(ours).toFixed(1)} | ${median(theirs).toFixed(1)} | ${spread(ratios)} |`,
    );
  };
  if (streams.includes(1)) line('1, of one row', (part) => part.aloneTokensPerSecond);
  for (const [at, count] of streams.entries()) line(`${count}`, (part) => part.tokensPerSecond[at]);
  lines.push('', ...scaleLines(settings, rounds), ...gapLines(settings, rounds));
  return lines.join('\n');
}

function scaleLines({ streams }: BatchSettings, rounds: readonly BatchRound[]): string[] {
  const many = streams.indexOf(GOAL_STREAMS);
  const one = streams.indexOf(1);
  if (many < 0 || one < 0) return [];
  return (['gemlet', 'llama'] as const).map((side) => {
    const parts = rounds.map((round) => round[side]);
    const over = (base: (part: PartResult) => number | null | undefined): string =>
      spread(parts.map((part) => (part.tokensPerSecond[many] ?? NaN) / (base(part) ?? NaN)));
    return `${side}: ${GOAL_STREAMS} streams over 1: ${over((part) => part.tokensPerSecond[one])}; over 1 in an engine of one row: ${over((part) => part.aloneTokensPerSecond)}`;
  });
}

function gapLines(settings: BatchSettings, rounds: readonly BatchRound[]): string[] {
  const sides = ['gemlet', 'llama'] as const;
  const lines = [
    '',
    'Pauses between the tokens of 4 running streams, ms, all rounds together:',
    '',
  ];
  lines.push(
    '| while this arrives | p50 | p99 | longest | alone | budget + step | first token of the arrival |',
    '|---|---|---|---|---|---|---|',
  );
  const before = lines.length;
  for (const side of sides) {
    const gaps = rounds.flatMap((round) => round[side].textGaps ?? []);
    const what = `${settings.arrivals} x ${settings.arriving} tokens`;
    if (gaps.length > 0) lines.push(gapLine(`${what}, ${side}`, gaps));
  }
  const images = rounds.flatMap(({ gemlet }) => gemlet.imageGaps ?? []);
  if (images.length > 0) lines.push(gapLine(`${settings.images} images, gemlet`, images));
  if (lines.length === before) return [];
  if (images.length > 0) {
    lines.push('', `Images go through ${TOWER_TITLE}, and are one chunk each whatever the budget.`);
  }
  return lines;
}

function gapLine(name: string, results: readonly GapResult[]): string {
  const gaps = results.flatMap(({ gapsMs }) => gapsMs);
  const at = (fraction: number): string => quantile(gaps, fraction).toFixed(0);
  const alone = median(results.map(({ aloneMs }) => aloneMs));
  const arrival = median(results.flatMap(({ arrivalMs }) => arrivalMs)) / 1000;
  return `| ${name} | ${at(0.5)} | ${at(0.99)} | ${at(1)} | ${alone.toFixed(0)} | ${(BUDGET_MS + alone).toFixed(0)} | ${arrival.toFixed(1)} s |`;
}

function spread(values: readonly number[]): string {
  const at = (fraction: number): string => quantile(values, fraction).toFixed(2);
  return `${at(0.5)} [${at(0.25)}, ${at(0.75)}]`;
}
