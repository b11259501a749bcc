import type { AttackResult } from './run-attack.ts';

/** What an attack may do to others at most. */
export interface Bounds {
  /** Of another user's two tokens, at p99. */
  readonly answerMs: number;
  /** The same, as a multiple of the calm time. */
  readonly timesCalm: number;
  readonly stallMs: number;
  readonly rssMb: number;
}

/** The memory is that of a container of 1 GB. */
export const DEFAULT_BOUNDS: Bounds = { answerMs: 2_000, timesCalm: 5, stallMs: 100, rssMb: 1_000 };

/** What an attack broke, in words; nothing when it was held. */
export function broken(result: AttackResult, bounds: Bounds): readonly string[] {
  const { calm, attacked, after, rssMb, survived } = result;
  const found: string[] = [];
  if (!survived) found.push('a server died');
  const failures = attacked.failures + after.failures;
  if (failures > 0) found.push(`${failures} requests of the other user failed`);
  if (attacked.answers === 0) found.push('the other user got no answer');
  const p99Ms = attacked.p99Ms ?? 0;
  if (p99Ms > bounds.answerMs) found.push(`p99 is ${p99Ms} ms`);
  else if (calm.p99Ms !== null && p99Ms > bounds.timesCalm * calm.p99Ms) {
    found.push(`p99 is ${(p99Ms / calm.p99Ms).toFixed(1)} times the calm one`);
  }
  // Large bodies arrive late: what they cost may come when nobody attacks any more.
  const stallMs = Math.max(attacked.longestStallMs, after.longestStallMs);
  if (stallMs > bounds.stallMs) found.push(`stood still for ${stallMs} ms`);
  if (rssMb.peak > bounds.rssMb) found.push(`${rssMb.peak} MB`);
  return found;
}

const COLUMNS = [
  'attack',
  'finding',
  'on',
  'calm p50/p99 ms',
  'attacked p50/p99 ms',
  'answers/failed',
  'live/stall ms',
  'RSS before/peak/after MB',
  'attacker got',
  'verdict',
];

/** A table in Markdown, a row an attack, and how many were held. */
export function formatAttacks(results: readonly AttackResult[], bounds: Bounds): string {
  const rows = results.map((result) => rowOf(result, bounds));
  const held = results.filter((result) => broken(result, bounds).length === 0).length;
  return [
    line(COLUMNS),
    line(COLUMNS.map(() => '---')),
    ...rows.map(line),
    '',
    `${results.length} tried, ${held} held, ${results.length - held} broken. Bounds: p99 of two tokens ${bounds.answerMs} ms and ${bounds.timesCalm} times the calm one, no failure, stall ${bounds.stallMs} ms (the wait for a core of a busy machine is not counted), ${bounds.rssMb} MB a process.`,
  ].join('\n');
}

function rowOf(result: AttackResult, bounds: Bounds): readonly string[] {
  const { attack, finding, target, calm, attacked, after, rssMb, outcomes } = result;
  const found = broken(result, bounds);
  const failed = attacked.failures + after.failures;
  return [
    attack,
    finding,
    target,
    `${calm.p50Ms}/${calm.p99Ms}`,
    `${attacked.p50Ms}/${attacked.p99Ms}`,
    `${attacked.answers}/${failed}`,
    `${attacked.longestLiveMs}/${attacked.longestStallMs} (calm ${calm.longestLiveMs}/${calm.longestStallMs})`,
    `${rssMb.before}/${rssMb.peak}/${rssMb.after}`,
    Object.entries(outcomes)
      .map(([outcome, count]) => `${count}x ${outcome}`)
      .join(', '),
    found.length === 0 ? 'held' : `BROKEN: ${found.join('; ')}`,
  ];
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}
