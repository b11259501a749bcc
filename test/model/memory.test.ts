import { describe, expect, it } from 'vitest';
import { memoryTable } from '../../src/model/memory.ts';
import type { MemoryOptions } from '../../src/model/memory.ts';
import { parseModelConfig } from '../../src/model/parse-config.ts';
import { readJsonFile } from '../support/read-json.ts';

const options: MemoryOptions = {
  config: parseModelConfig(readJsonFile('test/golden/configs/gemma-3-27b.json')),
  precision: 'fast',
  head: 'int8',
  contextTokens: 8192,
  rowCount: 2,
  ringTokens: 1408,
};
const bytesOf = (part: string, changed: Partial<MemoryOptions> = {}): number =>
  memoryTable({ ...options, ...changed }).rows.find((row) => row.part === part)?.bytes ?? -1;

describe('memoryTable', () => {
  it('adds up', () => {
    const { rows, totalBytes } = memoryTable(options);
    expect(rows.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(totalBytes);
    expect(rows.every(({ bytes, note }) => Number.isInteger(bytes) && note !== '')).toBe(true);
  });

  it('counts keys and values of each layer type with its own length', () => {
    // 27B: 10 global and 52 local layers, 16 KV heads of 128, fp32 keys and values.
    const tokenBytes = 2 * 16 * 128 * 4;
    expect(bytesOf('KV of global layers')).toBe(2 * 8192 * 10 * tokenBytes);
    expect(bytesOf('KV of local layers')).toBe(2 * 1408 * 52 * tokenBytes);
  });

  it('knows what weights cost in each storage', () => {
    const linear = 412_876_800 * 62;
    const norms = (4 * 5376 + 2 * 128) * 62 + 5376;
    const table = 262_208 * 5376;
    expect(bytesOf('decoder weights')).toBe(Math.ceil(linear * (0.5 + 8 / 32) + norms * 4));
    expect(bytesOf('decoder weights', { groupSize: 128 })).toBe(
      Math.ceil(linear * (0.5 + 8 / 128) + norms * 4),
    );
    expect(bytesOf('decoder weights', { decoder: 'float' })).toBe((linear + norms) * 4);
    expect(bytesOf('head')).toBe(table * (1 + 8 / 128));
    expect(bytesOf('head', { head: 'int4' })).toBe(table * (0.5 + 8 / 32));
    expect(bytesOf('head', { head: 'float' })).toBe(table * 4);
    expect(bytesOf('embedding table')).toBe(0);
    expect(bytesOf('vision')).toBe((416_866_032 + 1152 * 5376 + 1152) * 4);
  });

  it('has nothing to load for images in a text-only model', () => {
    const config = parseModelConfig(readJsonFile('test/golden/configs/gemma-3-1b.json'));
    expect(bytesOf('vision', { config })).toBe(0);
  });
});
