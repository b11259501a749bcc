import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { createFolderSource } from '../../adapters/node/folder-source.ts';
import { inspectCheckpoint } from '../../src/weights/inspect.ts';
import { openCheckpoint } from '../../src/weights/open-checkpoint.ts';
import { memorySource } from '../support/memory-source.ts';
import { writeSafetensors } from '../support/safetensors-writer.ts';
import { syntheticCheckpoint } from '../support/synthetic-checkpoint.ts';

describe('inspectCheckpoint', () => {
  it('describes the demo model', async () => {
    const folder = fileURLToPath(new URL('../../infra/demo-model', import.meta.url));
    const checkpoint = await openCheckpoint(createFolderSource(folder));
    const report = inspectCheckpoint(checkpoint, { ringTokens: 768 });
    await checkpoint.close();
    expect(report.acceptsImages).toBe(true);
    expect(report.architecture).toContain('Gemma3ForConditionalGeneration');
    expect(report.contextTokens).toBe(4096);
    expect(report.parameters.total).toBeGreaterThan(5_000_000);
    const summary = report.tensors.map(({ kind, count, dtype, quantization }) => [
      kind,
      count,
      dtype,
      quantization,
    ]);
    expect(summary).toEqual([
      ['embedding', 1, 'BF16', null],
      ['norm', 6 * 6 + 1, 'BF16', null],
      ['linear', 6 * 7, 'BF16', 'int4 (AWQ), groups of 32'],
      ['vision', 6 * 16 + 5, 'BF16', null],
      ['projector', 2, 'BF16', null],
    ]);
    expect(report.tensors.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(report.sizeBytes);
    expect(report.memory.map(({ contextTokens }) => contextTokens)).toEqual([2048, 4096]);
    expect(report.memory[1]?.totalBytes).toBeGreaterThan(report.memory[0]?.totalBytes ?? 0);
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  });

  it('knows float checkpoints and the context lengths asked for', async () => {
    const model = syntheticCheckpoint({ names: 'text', groupSize: null, floatDtype: 'F32' });
    const files = {
      'config.json': model.configJson,
      'model.safetensors': writeSafetensors(model.tensors),
    };
    const checkpoint = await openCheckpoint(memorySource(files));
    const report = inspectCheckpoint(checkpoint, {
      ringTokens: 128,
      contextTokens: [64],
      rowCount: 2,
    });
    expect(report.acceptsImages).toBe(false);
    expect(report.tensors.find(({ kind }) => kind === 'linear')).toMatchObject({
      count: 14,
      dtype: 'F32',
      quantization: null,
    });
    const weights = report.memory[0]?.rows.find(({ part }) => part === 'decoder weights');
    expect(weights?.bytes).toBe(report.parameters.decoder * 4);
  });
});
