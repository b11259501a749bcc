import { TOWER_TITLE } from './vision-checkpoint.ts';

export interface KvSettings {
  readonly size: string;
  /** Tokens of the first prompts, ascending. */
  readonly history: readonly number[];
  readonly forks: number;
  readonly images: number;
  readonly threads: number;
  readonly answerTokens: number;
  /** Tokens of each later turn. */
  readonly newTokens: number;
}

export interface Turn {
  readonly ttftMs: number;
  /** Of it, in moving rows and pages: what was reused, and what had to make room. */
  readonly movesMs: number;
  readonly cachedTokens: number;
  readonly ids: readonly number[];
}

export interface HistoryResult {
  readonly history: number;
  readonly first: Turn;
  /** The second turn, in the row of the first. */
  readonly warm: Turn;
  /** The third, after somebody else had the row. */
  readonly restored: Turn;
  /** The third with nothing to reuse. */
  readonly recomputed: Turn;
  /** What the third read from pages. */
  readonly movedBytes: number;
  /** Pages of the first two turns. */
  readonly pageBytes: number;
}

export interface ForkResult {
  readonly sharedTokens: number;
  /** To the first token of one request with a prompt as long. */
  readonly aloneMs: number;
  /** Of each, when all came at once. */
  readonly ttftMs: readonly number[];
  readonly cachedTokens: readonly number[];
}

export interface ImageResult {
  readonly promptTokens: number;
  readonly first: Turn;
  readonly warm: Turn;
  /** Images that the second turn encoded. */
  readonly encodedAgain: number;
}

export interface LlamaTurns {
  readonly label: string;
  readonly history: number;
  readonly firstMs: number;
  readonly secondMs: number;
}

export interface KvResults {
  readonly histories: readonly HistoryResult[];
  readonly forks: ForkResult | null;
  readonly images: ImageResult | null;
  readonly llama: readonly LlamaTurns[];
}

export function formatKv(settings: KvSettings, results: KvResults): string {
  const { histories, forks, images, llama } = results;
  const lines = [
    `## ${settings.size}: later turns, ${settings.threads} threads`,
    '',
    `Time to the first token of a turn of ${settings.newTokens} new tokens, and its part of the first turn's.`,
  ];
  if (histories.length > 0) {
    lines.push(
      '',
      '| history | turn 1 | turn 2, row still warm | turn 3, from pages | moved for it | computed again | pages |',
      '|---|---|---|---|---|---|---|',
      ...histories.map(historyLine),
    );
  }
  if (images !== null) {
    const { first, warm, encodedAgain, promptTokens } = images;
    lines.push(
      '',
      `${settings.images} images, ${promptTokens} tokens, through ${TOWER_TITLE}: turn 1 ${ms(first.ttftMs)}, turn 2 ${share(warm, first)}, ${encodedAgain} encoded again`,
    );
  }
  if (forks !== null) {
    const { sharedTokens, aloneMs, ttftMs, cachedTokens } = forks;
    const last = Math.max(...ttftMs);
    lines.push(
      '',
      `${ttftMs.length} requests at once with the same ${sharedTokens} tokens: all have a first token after ${ms(last)}, ${(last / aloneMs).toFixed(2)} of one alone (${ms(aloneMs)}); cached: ${cachedTokens.join(', ')}`,
    );
  }
  for (const { label, history, firstMs, secondMs } of llama) {
    const part = ((100 * secondMs) / firstMs).toFixed(1);
    lines.push(
      '',
      `${label}: ${history} tokens: turn 1 ${ms(firstMs)}, turn 2 in the same sequence ${ms(secondMs)} (${part} %)`,
    );
  }
  return lines.join('\n');
}

function historyLine(result: HistoryResult): string {
  const { first, warm, restored, recomputed, movedBytes, pageBytes } = result;
  const cells = [
    `${result.history}`,
    ms(first.ttftMs),
    share(warm, first),
    share(restored, first),
    `${megabytes(movedBytes)} in ${ms(restored.movesMs)}`,
    ms(recomputed.ttftMs),
    megabytes(pageBytes),
  ];
  return `| ${cells.join(' | ')} |`;
}

function share(turn: Turn, first: Turn): string {
  const part = ((100 * turn.ttftMs) / first.ttftMs).toFixed(1);
  return `${ms(turn.ttftMs)} (${part} %, ${turn.cachedTokens} cached)`;
}

function ms(value: number): string {
  return `${value.toFixed(0)} ms`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}
