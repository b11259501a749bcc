import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inspectOrbax } from '../../adapters/cli/inspect-orbax.ts';
import { convertToFolder, type FolderResult } from '../../adapters/node/convert-folder.ts';
import { createFolderSource } from '../../adapters/node/folder-source.ts';
import { createEngine } from '../../adapters/node/index.ts';
import { unzstd } from '../../adapters/node/zstd.ts';
import type { CompletionRequest } from '../../src/completer.ts';
import { openModel } from '../../src/bundle/open-model.ts';
import { convertArray } from '../../src/flax/convert-array.ts';
import { planConversion, type ConversionPlan } from '../../src/flax/conversion-plan.ts';
import { openOrbax } from '../../src/flax/open-orbax.ts';
import { openCheckpoint } from '../../src/weights/open-checkpoint.ts';
import { DEMO_CASES, chatOf, picturesOf, type DemoCase } from '../support/demo-cases.ts';
import { readDemoJson } from '../support/demo-model.ts';
import { expectSame } from '../support/expect-same.ts';
import { flaxTree, valuesOf, type ModelValues } from '../support/flax-tree.ts';
import { memorySource } from '../support/memory-source.ts';
import { DEMO_FOLDER } from '../support/onnx-model.ts';
import { writeOcdbt } from '../support/orbax/ocdbt-writer.ts';
import { writeOrbax, zarrValues } from '../support/orbax/orbax-writer.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MAIN = `${ROOT}/dist/adapters/cli/main.js`;

interface Finished {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

function runNode(args: readonly string[]): Promise<Finished> {
  const child = spawn(process.execPath, [...args], { cwd: ROOT });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return new Promise((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

async function planOf(orbax: string): Promise<ConversionPlan> {
  const source = createFolderSource(orbax);
  const config = {
    'config.json': readDemoJson('config.json'),
    'generation_config.json': readDemoJson('generation_config.json'),
  };
  const plan = await planConversion(await openOrbax(source, unzstd), {
    config,
    shardBytes: 500_000,
  });
  await source.close();
  return plan;
}

/** The demo model as Google would have published it for Flax. */
describe('gemlet convert flax', () => {
  const base = mkdtempSync(join(tmpdir(), 'gemlet-convert-'));
  const orbax = join(base, 'orbax');
  const awq = join(base, 'awq');
  let demo: ModelValues;
  beforeAll(async () => {
    const checkpoint = await openCheckpoint(createFolderSource(DEMO_FOLDER));
    demo = await valuesOf(checkpoint);
    const files = writeOrbax(flaxTree(checkpoint.config, demo));
    await checkpoint.close();
    for (const [name, bytes] of Object.entries(files)) {
      mkdirSync(dirname(join(orbax, name)), { recursive: true });
      writeFileSync(join(orbax, name), bytes);
    }
  });
  afterAll(() => rmSync(base, { recursive: true, force: true }));

  const convert = (...args: string[]): Promise<Finished> =>
    runNode([MAIN, 'convert', 'flax', orbax, ...args, '--config', DEMO_FOLDER]);

  it('makes a folder with every value of the model, by all cores', async () => {
    const { code, stdout, stderr } = await convert(awq, '--tokenizer', DEMO_FOLDER);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain('1 shards');
    expect(readdirSync(awq).toSorted()).toEqual([
      'config.json',
      'gemlet-convert.json',
      'generation_config.json',
      'model.safetensors',
      'preprocessor_config.json',
      'processor_config.json',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    const checkpoint = await openCheckpoint(createFolderSource(awq));
    const values = await valuesOf(checkpoint);
    expectSame(values, demo);
    await checkpoint.close();
    const again = await convert(awq, '--tokenizer', DEMO_FOLDER);
    expect(again.stdout).toContain('1 shards, 1 of them from before');
  });

  it('makes a model that answers as the reference does', async () => {
    const completer = await createEngine({ model: awq, precision: 'exact', threads: 2 });
    try {
      const cases = [0, 3, 20, 40, 60, 80].flatMap((index) => DEMO_CASES[index] ?? []);
      expect(cases.some((demoCase) => picturesOf(demoCase).length > 0)).toBe(true);
      for (const demoCase of cases) {
        let text = '';
        for await (const event of completer.complete(greedyRequest(demoCase))) {
          if (event.type === 'delta') text += event.text;
        }
        expect(text, `case ${demoCase.case}`).toBe(demoCase.text);
      }
    } finally {
      await completer.close();
    }
  });

  it('makes a bundle with the same values', async () => {
    const folder = join(base, 'bundle');
    const args = ['--format', 'bundle', '--tokenizer', DEMO_FOLDER, '--threads', '2'];
    const { code, stdout, stderr } = await convert(folder, ...args);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain('sent now');
    const bundle = await openModel(createFolderSource(folder));
    const values = await valuesOf(bundle);
    expectSame(values, demo);
    await bundle.close();
    expect((await convert(folder, ...args)).stdout).toContain('of which 0 kB sent now');
  });

  it('lists the checkpoint', async () => {
    const { code, stdout } = await runNode([MAIN, 'inspect', orbax]);
    expect(code).toBe(0);
    expect(stdout).toContain(
      '6 layers of width 192, 4 heads of 64 (2 for keys), 2048 tokens, pictures of 224',
    );
    const json = JSON.parse((await runNode([MAIN, 'inspect', orbax, '--json'])).stdout) as {
      readonly layout: string;
      readonly arrays: readonly { readonly name: string }[];
    };
    expect(json.layout).toBe('ocdbt');
    expect(json.arrays.map(({ name }) => name)).toContain('transformer/layer_5/mlp/linear.w');
  });

  it('lists one whose arrays cannot all be read, with why', async () => {
    const values = zarrValues({
      'params.w': { shape: [2], values: new Float32Array(2) },
      step: { shape: [1], values: new Float32Array(1) },
    });
    const text = new TextDecoder().decode(values['step/.zarray']).replace('"<f4"', '"<i4"');
    const files = writeOcdbt(
      { ...values, 'step/.zarray': new TextEncoder().encode(text) },
      { fanout: 7 },
    );
    const output = await inspectOrbax(memorySource(files), false);
    expect(output).toContain('1 array,');
    expect(output).toContain('Cannot be read: memory:: step/.zarray.dtype must be');
  });

  it.each<[readonly string[], string]>([
    [[], 'Say from what to convert'],
    [['onnx', 'a', 'b'], 'Say from what to convert'],
    [['flax', 'a'], 'Say which checkpoint and where to'],
    [['flax', 'a', 's3://bucket/b'], 'An AWQ checkpoint is written to a folder'],
    [['flax', 'a', 'b', '--format', 'gguf'], '--format must be awq, bundle'],
    [['flax', 'nowhere', 'b'], 'There is no model at nowhere'],
    [['flax', 'src', 'b'], 'is no Orbax checkpoint'],
    [['flax', 'src', 'b', '--tokenizer', 'src'], 'src has no tokenizer.json'],
  ])('%j is refused in a plain line', async (args, message) => {
    const { code, stderr } = await runNode([MAIN, 'convert', ...args]);
    expect(code).not.toBe(0);
    expect(stderr).toContain(message);
    expect(stderr).not.toContain('    at ');
  });

  describe('killed and run again', () => {
    const target = join(base, 'killed');

    async function goOn(): Promise<FolderResult & { readonly converted: readonly string[] }> {
      const source = createFolderSource(orbax);
      const converted: string[] = [];
      const result = await convertToFolder({
        plan: await planOf(orbax),
        folder: target,
        files: new Map(),
        convert: (flax) => {
          converted.push(flax.array.name);
          return convertArray(flax, { source, unzstd });
        },
        aheadBytes: 1e6,
        atOnce: 3,
        onKept: () => undefined,
      });
      await source.close();
      return { ...result, converted };
    }

    it('goes on where it was', async () => {
      const plan = await planOf(orbax);
      expect(plan.shards.length).toBeGreaterThan(8);
      // Kills itself in the middle of the fourth shard.
      const last = plan.shards[3]?.arrays.at(-1)?.flax.array.name ?? '';
      const script = `
        import { convertToFolder } from './dist/adapters/node/convert-folder.js';
        import { createFolderSource } from './dist/adapters/node/folder-source.js';
        import { unzstd } from './dist/adapters/node/zstd.js';
        import { convertArray } from './dist/src/flax/convert-array.js';
        import { planConversion } from './dist/src/flax/conversion-plan.js';
        import { openOrbax } from './dist/src/flax/open-orbax.js';
        import { readFileSync } from 'node:fs';
        const [orbax, demo, folder, last] = process.argv.slice(1);
        const source = createFolderSource(orbax);
        const json = (name) => JSON.parse(readFileSync(demo + name, 'utf8'));
        const config = { 'config.json': json('config.json'), 'generation_config.json': json('generation_config.json') };
        const plan = await planConversion(await openOrbax(source, unzstd), { config, shardBytes: 500_000 });
        async function* convert(flax) {
          if (flax.array.name === last) process.kill(process.pid, 'SIGKILL');
          yield* convertArray(flax, { source, unzstd });
        }
        await convertToFolder({ plan, folder, files: new Map(), convert, aheadBytes: 1, atOnce: 1, onKept() {} });
      `;
      const args = ['--input-type=module', '-e', script, orbax, DEMO_FOLDER, target, last];
      expect(await runNode(args)).toMatchObject({ signal: 'SIGKILL', stderr: '' });
      const left = readdirSync(target);
      expect(left.filter((name) => name.endsWith('.partial'))).toHaveLength(1);
      expect(left.filter((name) => name.endsWith('.safetensors'))).toHaveLength(3);
      expect(left).not.toContain('config.json');

      const { keptCount, shardCount, converted } = await goOn();
      expect([keptCount, shardCount]).toEqual([3, plan.shards.length]);
      expect(converted).toHaveLength(
        plan.shards.slice(3).reduce((sum, { arrays }) => sum + arrays.length, 0),
      );
      expect(readdirSync(target).filter((name) => name.endsWith('.partial'))).toEqual([]);
      const checkpoint = await openCheckpoint(createFolderSource(target));
      const values = await valuesOf(checkpoint);
      expectSame(values, demo);
      await checkpoint.close();
    });

    it('makes a shard again whose bytes have changed', async () => {
      const path = join(target, (await planOf(orbax)).shards[1]?.file ?? '');
      const before = readFileSync(path);
      const after = Buffer.from(before);
      after[after.length - 1] = (after[after.length - 1] ?? 0) ^ 1;
      writeFileSync(path, after);
      const { keptCount, shardCount } = await goOn();
      expect(keptCount).toBe(shardCount - 1);
      expect(readFileSync(path).equals(before)).toBe(true);
    });

    it('does not mix with another conversion', async () => {
      writeFileSync(join(target, 'gemlet-convert.json'), '{"fingerprint": "other", "shards": {}}');
      await expect(goOn()).rejects.toThrow('of another model or conversion');
    });

    it('that fails leaves no half file, and its error says where', async () => {
      const folder = join(base, 'failed');
      const source = createFolderSource(orbax);
      const plan = await planOf(orbax);
      const name = plan.shards[2]?.arrays[0]?.flax.array.name;
      await expect(
        convertToFolder({
          plan,
          folder,
          files: new Map(),
          async *convert(flax) {
            if (flax.array.name === name) throw new Error(`${name} broke`);
            yield* convertArray(flax, { source, unzstd });
          },
          aheadBytes: 1e6,
          atOnce: 3,
          onKept: () => undefined,
        }),
      ).rejects.toThrow(`${name} broke`);
      await source.close();
      expect(readdirSync(folder).toSorted()).toEqual([
        'gemlet-convert.json',
        ...plan.shards.slice(0, 2).map(({ file }) => file),
      ]);
    });
  });
});

function greedyRequest(demoCase: DemoCase): CompletionRequest {
  return {
    prompt: {
      type: 'chat',
      messages: chatOf(demoCase),
      strict: false,
      addGenerationPrompt: true,
      continueFinalMessage: false,
    },
    choiceCount: 1,
    scope: '',
    tenant: '',
    sessionId: null,
    returnTokenIds: false,
    sampling: {
      maxTokens: 64,
      temperature: 0,
      topK: 64,
      topP: 0.95,
      minP: 0,
      repetitionPenalty: 1,
      presencePenalty: 0,
      frequencyPenalty: 0,
      logitBias: new Map(),
      seed: 0,
      stop: [],
      stopIds: [],
      allowedIds: null,
      minTokens: 0,
      ignoreEos: false,
      includesStop: false,
      logprobs: null,
      promptLogprobs: null,
    },
  };
}
