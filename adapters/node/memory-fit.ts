import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { ServeError } from '../../src/errors.ts';
import type { MemoryTable } from '../../src/model/memory.ts';

/** Bytes this process may still take: what the system can give, within its container's limit. */
export function availableBytes(): number {
  return Math.min(systemAvailable(), containerAvailable());
}

/** The part of the table that `--kv-budget` sets. */
export const KV_PAGES_PART = 'KV pages in host memory';

/** @throws ServeError out_of_memory when the table does not fit, saying what would */
export function requireMemory(table: MemoryTable, available: number): void {
  if (table.totalBytes <= available) return;
  const rows = table.rows.toSorted((a, b) => b.bytes - a.bytes).slice(0, 3);
  const largest = rows.map(({ part, bytes }) => `${part} ${formatBytes(bytes)}`).join(', ');
  // By default the budget is a part of what is left: one that is too large was asked for.
  const flags = table.rows.some(({ part }) => part === KV_PAGES_PART)
    ? '--kv-budget, --context'
    : '--context';
  throw new ServeError(
    'out_of_memory',
    `The model needs ${formatBytes(table.totalBytes)} and ${formatBytes(available)} are available (largest: ${largest}). Lower ${flags} or --slots, choose --head int4, or use a smaller model.`,
  );
}

export function formatBytes(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(2)} GB`;
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e3).toFixed(0)} kB`;
}

function systemAvailable(): number {
  const line = /^MemAvailable:\s+(\d+) kB/m.exec(read('/proc/meminfo') ?? '');
  return line?.[1] === undefined ? freemem() : Number(line[1]) * 1024;
}

/** cgroup v2, then v1; no limit reads as "max" or an absurd number. */
function containerAvailable(): number {
  for (const [limitFile, usedFile] of [
    ['/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory.current'],
    ['/sys/fs/cgroup/memory/memory.limit_in_bytes', '/sys/fs/cgroup/memory/memory.usage_in_bytes'],
  ] as const) {
    const limit = Number(read(limitFile));
    const used = Number(read(usedFile));
    if (Number.isFinite(limit) && limit > 0) return Math.max(0, limit - used);
  }
  return Number.POSITIVE_INFINITY;
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return null;
  }
}
