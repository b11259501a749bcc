import { expect, it } from 'vitest';
import {
  availableBytes,
  formatBytes,
  KV_PAGES_PART,
  requireMemory,
} from '../../adapters/node/memory-fit.ts';

const table = {
  rows: [
    { part: 'decoder weights', bytes: 3e9, note: '' },
    { part: 'KV of global layers', bytes: 5e9, note: '' },
    { part: 'head', bytes: 1e6, note: '' },
  ],
  totalBytes: 8_001_000_000,
};

it('lets a model in that fits', () => {
  expect(() => requireMemory(table, table.totalBytes)).not.toThrow();
});

it('refuses one that does not, with the largest parts first and what to change', () => {
  expect(() => requireMemory(table, 4e9)).toThrow(
    /needs 8\.00 GB and 4\.00 GB are available \(largest: KV of global layers 5\.00 GB, decoder/,
  );
  expect(() => requireMemory(table, 4e9)).toThrow(/--context or --slots/);
});

it('names the page budget where one was asked for that leaves no room', () => {
  const pages = { part: KV_PAGES_PART, bytes: 9e9, note: '' };
  const rows = [...table.rows, pages];
  const asked = { rows, totalBytes: table.totalBytes + pages.bytes };
  expect(() => requireMemory(asked, 10e9)).toThrow(
    /largest: KV pages in host memory 9\.00 GB.* Lower --kv-budget, --context or --slots/,
  );
  expect(() => requireMemory(table, 4e9)).not.toThrow(/--kv-budget/);
});

it('finds some memory on this machine, and writes sizes for people', () => {
  expect(availableBytes()).toBeGreaterThan(0);
  expect([999_400, 1_500_000, 2.5e9].map(formatBytes)).toEqual(['999 kB', '1.5 MB', '2.50 GB']);
});
