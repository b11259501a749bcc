import { mkdir, mkdtemp, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFolderSource } from '../../../adapters/node/folder-source.ts';
import { describeObjectSource } from '../../contracts/object-source.ts';

const makeFolder = (): Promise<string> => mkdtemp(join(tmpdir(), 'gemlet-folder-'));

describeObjectSource('a folder', async () => {
  const folder = await makeFolder();
  return {
    source: createFolderSource(folder),
    async put(key, bytes) {
      const path = join(folder, key);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, bytes);
    },
    dispose: () => rm(folder, { recursive: true }),
  };
});

describe('a folder', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await makeFolder();
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('is named by its absolute path', () => {
    expect(createFolderSource(`${folder}/a/..`).name).toBe(`file:${folder}`);
  });

  it('takes no notice of folders and of files that are not there', async () => {
    await mkdir(join(folder, 'sub'));
    const source = createFolderSource(folder);
    expect(await source.head('sub')).toBeNull();
    expect(await source.head('sub/none')).toBeNull();
    expect(await source.list?.()).toEqual([]);
  });

  it('follows symbolic links, as the hub’s local cache is made of them', async () => {
    await writeFile(join(folder, 'blob'), 'hello');
    await mkdir(join(folder, 'snapshot'));
    await symlink('../blob', join(folder, 'snapshot', 'config.json'));
    const source = createFolderSource(join(folder, 'snapshot'));
    const target = new Uint8Array(5);
    await source.read('config.json', 0, target);
    expect(Buffer.from(target).toString()).toBe('hello');
    expect(await source.list?.()).toEqual(['config.json']);
    await source.close();
  });

  it('keeps the old bytes of a file that is replaced by another', async () => {
    await writeFile(join(folder, 'a'), 'old bytes');
    const source = createFolderSource(folder);
    const target = new Uint8Array(3);
    await source.read('a', 0, target);
    await writeFile(join(folder, 'b'), 'new bytes');
    await rename(join(folder, 'b'), join(folder, 'a'));
    await source.read('a', 0, target);
    expect(Buffer.from(target).toString()).toBe('old');
    await source.close();
  });

  it('fails on a file that shrinks, then reads the new one', async () => {
    await writeFile(join(folder, 'a'), 'old bytes');
    const source = createFolderSource(folder);
    const target = new Uint8Array(3);
    source.readSync?.('a', 6, target);
    await truncate(join(folder, 'a'), 4);
    expect(() => source.readSync?.('a', 0, target)).toThrow('changed while it was read');
    await source.read('a', 0, target);
    expect(Buffer.from(target).toString()).toBe('old');
    await expect(source.read('a', 2, target)).rejects.toThrow('has 4 bytes, asked for 2 to 5');
    await source.close();
  });

  it('waits for reads that still run when it is closed', async () => {
    await writeFile(join(folder, 'a'), Buffer.alloc(20 * 2 ** 20, 1));
    const source = createFolderSource(folder);
    const target = new Uint8Array(20 * 2 ** 20);
    const reading = source.read('a', 0, target);
    await source.close();
    await reading;
    expect(target.at(-1)).toBe(1);
  });
});
