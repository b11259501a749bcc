import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, writeSync } from 'node:fs';
import { copyFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseModelConfig } from '../../src/model/parse-config.ts';
import { expectedTensors } from '../../src/model/tensor-shapes.ts';
import { storedName } from './synthetic-checkpoint.ts';

const GROUP = 32;

/**
 * A checkpoint in a true shape whose weights are holes in a file: gigabytes that take no space, for
 * what only looks at headers.
 * @param configPath a config.json of Gemma 3
 * @returns its folder, to be removed by the caller
 */
export function sparseCheckpoint(configPath: string): string {
  const config = parseModelConfig(JSON.parse(readFileSync(configPath, 'utf8')));
  const header: Record<string, { dtype: string; shape: number[]; data_offsets: number[] }> = {};
  let end = 0;
  const add = (name: string, dtype: 'BF16' | 'I32', shape: number[]): void => {
    const bytes = shape.reduce((product, dim) => product * dim, dtype === 'BF16' ? 2 : 4);
    header[name] = { dtype, shape, data_offsets: [end, end + bytes] };
    end += bytes;
  };
  for (const { name, kind, shape } of expectedTensors(config)) {
    const stored = storedName(name, 'old');
    const [out = 0, inputs = 0] = shape;
    if (kind !== 'linear') {
      add(stored, 'BF16', [...shape]);
      continue;
    }
    const base = stored.replace(/\.weight$/, '');
    add(`${base}.qweight`, 'I32', [inputs, out / 8]);
    add(`${base}.qzeros`, 'I32', [inputs / GROUP, out / 8]);
    add(`${base}.scales`, 'BF16', [inputs / GROUP, out]);
  }
  const folder = mkdtempSync(join(tmpdir(), 'gemlet-sparse-'));
  copyFileSync(configPath, join(folder, 'config.json'));
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const fd = openSync(join(folder, 'model.safetensors'), 'w');
  try {
    writeSync(fd, Buffer.concat([length, json]));
    ftruncateSync(fd, 8 + json.length + end);
  } finally {
    closeSync(fd);
  }
  return folder;
}
