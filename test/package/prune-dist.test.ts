import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

// A build script in JavaScript, which this project's TypeScript does not read.
const script = new URL('../../infra/prune-dist.mjs', import.meta.url).href;
const { pruneDist } = (await import(script)) as { pruneDist: (root: string) => string[] };

describe('pruneDist', () => {
  let root: string;
  const write = (path: string): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), '');
  };

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'gemlet-prune-'));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  it('deletes compiled files whose source is gone and keeps all others', () => {
    const kept = [
      'src/lib/clock.ts',
      'dist/src/lib/clock.js',
      'dist/src/lib/clock.d.ts',
      'infra/build.mjs',
      'dist/infra/build.mjs',
      'dist/infra/build.d.mts',
      'dist/edge/gemlet.js',
      'dist/src.tsbuildinfo',
    ];
    const stale = ['dist/adapters/old.d.ts', 'dist/src/lib/old.js'];
    for (const path of [...kept, ...stale]) write(path);
    expect(pruneDist(root).toSorted()).toEqual(stale);
    expect(kept.filter((path) => !existsSync(join(root, path)))).toEqual([]);
    expect(stale.filter((path) => existsSync(join(root, path)))).toEqual([]);
  });

  it('has nothing to do before the first build', () => {
    expect(pruneDist(root)).toEqual([]);
  });
});
