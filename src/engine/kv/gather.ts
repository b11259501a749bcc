export interface Swap {
  readonly a: number;
  readonly b: number;
}

export interface Gathering {
  /** Rows between the first and the last running one that do not run: each costs as much as one that does. */
  readonly gaps: number;
  /** Exchanges after which there are none. */
  readonly swaps: readonly Swap[];
}

/** Plans to bring running rows next to each other with as few exchanges as possible. */
export function gather(rowCount: number, running: readonly number[]): Gathering {
  const sorted = running.toSorted((a, b) => a - b);
  const first = sorted[0] ?? 0;
  const last = sorted.at(-1) ?? -1;
  const gaps = Math.max(0, last - first + 1 - sorted.length);
  if (gaps === 0) return { gaps, swaps: [] };
  const count = sorted.length;
  const isRunning = new Set(sorted);
  let bestStart = 0;
  let bestInside = -1;
  for (let start = 0; start + count <= rowCount; start++) {
    const inside = sorted.filter((row) => row >= start && row < start + count).length;
    if (inside <= bestInside) continue;
    bestStart = start;
    bestInside = inside;
  }
  const outside = sorted.filter((row) => row < bestStart || row >= bestStart + count);
  const free: number[] = [];
  for (let row = bestStart; row < bestStart + count; row++) if (!isRunning.has(row)) free.push(row);
  return { gaps, swaps: outside.map((a, index) => ({ a, b: free[index] ?? a })) };
}
