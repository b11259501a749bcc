import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inspect } from '../../../adapters/cli/inspect.ts';
import { describeModel } from '../../../adapters/node/describe-model.ts';
import { requireMemory } from '../../../adapters/node/memory-fit.ts';
import { sparseCheckpoint } from '../../support/sparse-checkpoint.ts';

const GB = 1e9;

describe('Gemma 3 27B', () => {
  let folder: string;
  beforeAll(() => {
    const config = new URL('../../golden/configs/gemma-3-27b.json', import.meta.url);
    folder = sparseCheckpoint(fileURLToPath(config));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('is described from its headers, with what it needs at each length', async () => {
    const text = await inspect({ model: folder, token: null, isJson: false });
    console.log(text);
    expect(text).toMatch(/parameters +27\d{3}\.\d million/);
    expect(text).toMatch(/linear +434 +int4 \(AWQ\), groups of 32, BF16 scales/);
    expect(text).toMatch(/131072 tokens +\d+\.\d+ GB/);
  });

  it('is refused where it does not fit, saying what is largest and what to do', async () => {
    const { memory } = await describeModel({
      model: folder,
      slots: 1,
      contextTokens: 2048,
      kvBudgetBytes: 0,
    });
    expect(memory.totalBytes / GB).toBeGreaterThan(18);
    expect(() => requireMemory(memory, 16 * GB)).toThrow(
      /^The model needs 2\d\.\d+ GB and 16\.00 GB are available \(largest: decoder weights 19\.\d+ GB/,
    );
  });
});
