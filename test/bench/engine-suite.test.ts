import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runEngineSuite } from '../../infra/bench/engine-suite.ts';
import type { EngineSuiteOptions } from '../../infra/bench/engine-suite.ts';
import { hasLlamaTool } from '../../infra/bench/llama-tool.ts';
import { formatReport } from '../../infra/bench/report.ts';
import { runSpec } from '../../infra/bench/runner.ts';
import type { RunResult, RunSpec } from '../../infra/bench/runner.ts';
import { shapeOf } from '../../infra/bench/shapes.ts';

const shape = shapeOf('mini');
const memory = { rssMiB: 100, peakMiB: 120, fileMiB: 50 };

function result(label: string, tokensPerSecond: number, decodeMs: number): RunResult {
  return {
    label,
    loadMs: 100,
    memoryAfterLoad: memory,
    memoryAtEnd: memory,
    foreignCores: 0,
    measurement: {
      prefillTokensPerSecond: [tokensPerSecond],
      decodeMs: [{ context: 16, ms: decodeMs }],
    },
  };
}

describe('runEngineSuite', () => {
  let cacheFolder: string;
  beforeAll(() => {
    cacheFolder = mkdtempSync(join(tmpdir(), 'gemlet-bench-suite-'));
  });
  afterAll(() => rmSync(cacheFolder, { recursive: true, force: true }));

  const suite = (run: (spec: RunSpec) => Promise<RunResult>): EngineSuiteOptions => ({
    cacheFolder,
    rounds: 3,
    threads: 1,
    contextTokens: 256,
    plan: { prefillTokens: 32, prefillRepeats: 1, decodeContexts: [16], decodeTokens: 2 },
    checkLengths: [],
    only: null,
    run,
    log: () => {},
  });

  /** Stands for llama.cpp: the suite asks for the package's version only. */
  const pretendInstalled = (): void => {
    for (const name of ['node-llama-cpp', '@node-llama-cpp/linux-x64']) {
      const folder = join(cacheFolder, 'tools/node_modules', name);
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, 'package.json'), '{"version":"3.22.1"}');
    }
  };

  it('alternates the order and keeps the better flash attention setting of llama.cpp', async () => {
    pretendInstalled();
    const order: string[] = [];
    const report = await runEngineSuite(
      shape,
      suite((spec) => {
        const { engine } = spec;
        if (engine.type === 'gemlet') {
          order.push('gemlet');
          return Promise.resolve(result('gemlet', 300, 10));
        }
        order.push(engine.flashAttention ? 'llama on' : 'llama off');
        return Promise.resolve(
          engine.flashAttention ? result('llama on', 190, 20) : result('llama off', 200, 20),
        );
      }),
    );
    expect(order).toEqual([
      'llama on',
      'llama off',
      'gemlet',
      'llama off',
      'llama off',
      'gemlet',
      'gemlet',
      'llama off',
    ]);
    expect(report.rounds.map((round) => round.first)).toEqual(['gemlet', 'llama', 'gemlet']);
    expect(report.trials.map((trial) => trial.label)).toEqual(['llama on', 'llama off']);
  });

  it('prints ratios of speed: above 1 when gemlet is faster, for rates and for times', async () => {
    pretendInstalled();
    const report = await runEngineSuite(
      shape,
      suite(({ engine }) =>
        Promise.resolve(
          engine.type === 'gemlet' ? result('gemlet', 300, 10) : result('llama.cpp', 200, 25),
        ),
      ),
    );
    const text = formatReport({
      suite: 'engine',
      gemlet: '0.0.0',
      startedAt: '2026-01-01T00:00:00Z',
      command: 'npm run bench -- engine',
      machine: { cpu: 'cpu', cores: 2, memoryGiB: 8, system: 'linux', node: 'v20', load: 0 },
      sizes: [report],
    });
    expect(text).toContain(
      '| prefill, 32 tokens | 300 tokens/s | 200 tokens/s | 1.50 [1.50, 1.50] |',
    );
    expect(text).toContain(
      '| decode at 16 tokens | 10.0 ms/token | 25.0 ms/token | 2.50 [2.50, 2.50] |',
    );
    expect(text).not.toContain('not quiet');
  });

  it('runs one engine alone when asked, without llama.cpp', async () => {
    const types: string[] = [];
    const report = await runEngineSuite(shape, {
      ...suite(({ engine }) => {
        types.push(engine.type);
        return Promise.resolve(result('gemlet', 1, 1));
      }),
      only: 'gemlet',
    });
    expect(types).toEqual(['gemlet', 'gemlet', 'gemlet']);
    expect(report.rounds.every((round) => round.llama === null)).toBe(true);
  });

  it('measures the real backend on a toy model', async () => {
    const report = await runEngineSuite(shape, { ...suite(runSpec), rounds: 1, only: 'gemlet' });
    const run = report.rounds[0]?.gemlet;
    expect(run?.label).toMatch(/^gemlet \(ONNX Runtime \d/);
    expect(run?.measurement?.prefillTokensPerSecond[0]).toBeGreaterThan(0);
    expect(run?.measurement?.decodeMs[0]?.ms).toBeGreaterThan(0);
  });

  const tools = resolve('.cache/bench/tools');
  const installed = existsSync(tools) && hasLlamaTool(tools);
  if (!installed) {
    console.warn('llama.cpp is not installed: `npm run bench -- engine --sizes mini` does that');
  }

  it.skipIf(!installed)('agrees with llama.cpp about the next token', async () => {
    const report = await runEngineSuite(shape, {
      ...suite((spec) =>
        spec.task.type === 'logits'
          ? runSpec(spec)
          : Promise.resolve(result(spec.engine.type, 1, 1)),
      ),
      cacheFolder: '.cache/bench',
      contextTokens: 1024,
      // Inside the window of 128 tokens, at its edge, beyond it, beyond llama.cpp's batch.
      checkLengths: [20, 128, 129, 700],
    });
    for (const check of report.agreement) {
      expect(check.correlation, `${check.promptTokens} tokens`).toBeGreaterThan(0.998);
    }
    expect(report.agreement).toHaveLength(4);
  });
});
