import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createFolderSource } from '../../adapters/node/folder-source.ts';
import { loadTokenizer } from '../../adapters/node/load-tokenizer.ts';
import { DEMO_FOLDER } from '../support/onnx-model.ts';

let cache: string;
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'gemlet-cache-'));
  vi.stubEnv('GEMLET_CACHE_DIR', cache);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(cache, { recursive: true });
});

it('builds the vocabulary once, and again when the kept one is damaged', async () => {
  const source = createFolderSource(DEMO_FOLDER);
  const ids = (await loadTokenizer(source)).tokenizer.encode('The image shows a turtle.');
  const folder = join(cache, 'gemlet');
  const [kept = ''] = readdirSync(folder);
  expect((await loadTokenizer(source)).tokenizer.encode('The image shows a turtle.')).toEqual(ids);
  writeFileSync(join(folder, kept), 'damaged');
  expect((await loadTokenizer(source)).tokenizer.encode('The image shows a turtle.')).toEqual(ids);
  await source.close();
});

it('says which file is missing and where to get it', async () => {
  const source = createFolderSource(cache);
  await expect(loadTokenizer(source)).rejects.toMatchObject({
    code: 'invalid_checkpoint',
    message: expect.stringContaining('tokenizer.json') as string,
  });
  await source.close();
});
