import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeRandomCheckpoint } from './random-checkpoint.ts';
import { writeRandomGguf } from './random-gguf.ts';
import { AWQ_ORDER, randomWeights } from './random-weights.ts';
import type { TextShape } from './shapes.ts';

export interface BenchModel {
  /** A Hugging Face folder. */
  readonly checkpoint: string;
  /** The same weights for llama.cpp. */
  readonly gguf: string;
}

const SEED = 'gemlet bench';

/**
 * The random model of `shape` under `root`, written once and found again on later calls: the
 * manifest is the last file written, so a folder without the right one is an interrupted run.
 */
export function ensureBenchModel(
  root: string,
  shape: TextShape,
  log: (line: string) => void,
): BenchModel {
  const folder = join(root, shape.name);
  const model = { checkpoint: join(folder, 'checkpoint'), gguf: join(folder, 'model.gguf') };
  const manifestPath = join(folder, 'bench-model.json');
  const manifest = JSON.stringify({ shape, seed: SEED, sample: sampleHash(shape) });
  if (existsSync(manifestPath) && readFileSync(manifestPath, 'utf8') === manifest) return model;
  log(`writing random ${shape.name} weights, once, under ${folder}`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  writeRandomCheckpoint(model.checkpoint, shape, SEED);
  writeRandomGguf(model.gguf, shape, SEED);
  writeFileSync(manifestPath, manifest);
  return model;
}

/** Changes when the generator does, so that files of an older one are not taken for current. */
function sampleHash(shape: TextShape): string {
  const hash = createHash('sha256').update(AWQ_ORDER.join());
  for (const weight of randomWeights(shape, SEED)) {
    if (!/^layers\.0\..*(k_proj|norm)$|^[^.]*$/.test(weight.name)) continue;
    if (weight.type === 'norm') hash.update(weight.make());
    if (weight.type === 'embedding') {
      const { values, exponents } = weight.make(0);
      hash.update(values).update(exponents);
    }
    if (weight.type === 'linear') {
      const { words, scales } = weight.make();
      hash.update(words).update(scales);
    }
  }
  return hash.digest('hex').slice(0, 16);
}
