import type { MemoryTable } from '../../src/model/memory.ts';
import { formatBytes } from '../node/memory-fit.ts';

/** The memory table as aligned text. */
export function memoryText(table: MemoryTable): string {
  const rows = table.rows.filter(({ bytes }) => bytes > 0);
  const parts = [...rows.map(({ part }) => part), 'total'];
  const sizes = [...rows.map(({ bytes }) => formatBytes(bytes)), formatBytes(table.totalBytes)];
  const partWidth = Math.max(...parts.map((part) => part.length));
  const sizeWidth = Math.max(...sizes.map((size) => size.length));
  const lines = parts.map((part, i) =>
    `  ${part.padEnd(partWidth)}  ${(sizes[i] ?? '').padStart(sizeWidth)}  ${rows[i]?.note ?? ''}`.trimEnd(),
  );
  return ['Memory', ...lines].join('\n');
}
