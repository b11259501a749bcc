import { existsSync } from 'node:fs';
import {
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFolderStore } from '../../../adapters/node/folder-store.ts';
import { describeObjectSource } from '../../contracts/object-source.ts';
import { describeObjectStore } from '../../contracts/object-store.ts';
import { rejectedBy } from '../../support/thrown-by.ts';

const makeFolder = (): Promise<string> => mkdtemp(join(tmpdir(), 'gemlet-store-'));

describeObjectSource('a writable folder', async () => {
  const folder = await makeFolder();
  return {
    source: createFolderStore(folder),
    async put(key, bytes) {
      const path = join(folder, key);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, bytes);
    },
    dispose: () => rm(folder, { recursive: true }),
  };
});

describeObjectStore('a folder', async () => {
  const folder = await makeFolder();
  const open = () => createFolderStore(join(folder, 'not', 'there', 'yet'));
  return { store: open(), open, dispose: () => rm(folder, { recursive: true }) };
});

describeObjectStore('a private folder', async () => {
  const folder = await makeFolder();
  const open = () => createFolderStore(join(folder, 'not', 'there', 'yet'), { isPrivate: true });
  return { store: open(), open, dispose: () => rm(folder, { recursive: true }) };
});

describe('a writable folder', () => {
  let folder = '';
  let outside = '';
  beforeEach(async () => {
    folder = await makeFolder();
    outside = await makeFolder();
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
    await rm(outside, { recursive: true });
  });

  it('refuses links that lead out of it, on writing and on removing', async () => {
    await symlink(outside, join(folder, 'out'));
    await writeFile(join(outside, 'theirs'), 'theirs');
    const store = createFolderStore(folder);
    for (const key of ['out/new', 'out/theirs', 'out/new/deep']) {
      const error = await rejectedBy(store.write(key, new Uint8Array(3)));
      expect(error.code).toBe('invalid_checkpoint');
      expect(error.message).toContain('leads out of it');
      expect((await rejectedBy(store.remove(key))).code).toBe('invalid_checkpoint');
    }
    expect(await readdir(outside)).toEqual(['theirs']);
    expect(await readFile(join(outside, 'theirs'), 'utf8')).toBe('theirs');
  });

  it('replaces a link to a file instead of writing through it', async () => {
    await writeFile(join(outside, 'theirs'), 'theirs');
    await symlink(join(outside, 'theirs'), join(folder, 'link'));
    const store = createFolderStore(folder);
    await store.write('link', Buffer.from('ours'));
    expect(await readFile(join(folder, 'link'), 'utf8')).toBe('ours');
    await symlink(join(outside, 'theirs'), join(folder, 'link2'));
    await store.remove('link2');
    expect(await readFile(join(outside, 'theirs'), 'utf8')).toBe('theirs');
  });

  it('may itself be reached through a link, and may hold links within it', async () => {
    await mkdir(join(folder, 'real'));
    await symlink(join(folder, 'real'), join(outside, 'door'));
    await mkdir(join(folder, 'real', 'a'));
    await symlink('a', join(folder, 'real', 'b'));
    // A folder that is its own parent would be listed forever.
    await symlink('.', join(folder, 'real', 'loop'));
    const store = createFolderStore(join(outside, 'door'));
    await store.write('b/file', Buffer.from('x'));
    expect(await readFile(join(folder, 'real', 'a', 'file'), 'utf8')).toBe('x');
    const keys: string[] = [];
    for await (const { key } of store.listPrefix('')) keys.push(key);
    expect(keys).toEqual(['a/file']);
  });

  it('leaves nothing behind when a write is aborted in the middle', async () => {
    const store = createFolderStore(folder);
    await store.write('w', Buffer.from('old'));
    const controller = new AbortController();
    const reason = new Error('enough');
    const writing = store.write('w', new Uint8Array(64 * 2 ** 20), { signal: controller.signal });
    controller.abort(reason);
    await expect(writing).rejects.toBe(reason);
    expect(await readdir(folder)).toEqual(['w']);
    expect(await readFile(join(folder, 'w'), 'utf8')).toBe('old');
  });

  it('takes no notice of what a writer that died left', async () => {
    await writeFile(join(folder, '.gemlet-0b7e1d5e-0000-4000-8000-000000000000.partial'), 'half');
    await writeFile(join(folder, '.hidden'), 'h');
    const store = createFolderStore(folder);
    expect(await store.list?.()).toEqual(['.hidden']);
    const keys: string[] = [];
    for await (const { key } of store.listPrefix('.')) keys.push(key);
    expect(keys).toEqual(['.hidden']);
  });

  it('that is private neither reads nor lists what links out of it lead to', async () => {
    await writeFile(join(outside, 'secret'), 'secret');
    await symlink(join(outside, 'secret'), join(folder, 'file'));
    await symlink(outside, join(folder, 'out'));
    const store = createFolderStore(folder, { isPrivate: true });
    for (const key of ['file', 'out/secret']) {
      expect((await rejectedBy(store.head(key))).message).toContain('leads out of it');
      const error = await rejectedBy(store.read(key, 0, new Uint8Array(6)));
      expect(error.message).toContain('leads out of it');
    }
    const keys: string[] = [];
    for await (const { key } of store.listPrefix('')) keys.push(key);
    expect(keys).toEqual([]);
    // What is written in the link's place is our own.
    await store.write('file', Buffer.from('ours'));
    const bytes = new Uint8Array(4);
    await store.read('file', 0, bytes);
    expect(Buffer.from(bytes).toString()).toBe('ours');
    expect(await readFile(join(outside, 'secret'), 'utf8')).toBe('secret');
    await store.close();
  });

  it('that is private loses what killed writers left with the next listing, after an hour', async () => {
    const left = ['0', '1'].map(
      (digit) => `.gemlet-${digit}b7e1d5e-0000-4000-8000-000000000000.partial`,
    );
    await mkdir(join(folder, 'kv'));
    for (const name of left) await writeFile(join(folder, 'kv', name), 'half');
    const longAgo = new Date(Date.now() - 2 * 3_600_000);
    await utimes(join(folder, 'kv', left[0] ?? ''), longAgo, longAgo);
    for (const isPrivate of [false, true]) {
      expect(await readdir(join(folder, 'kv'))).toHaveLength(2);
      const store = createFolderStore(folder, { isPrivate });
      for await (const { key } of store.listPrefix('')) expect(key).toBe('nothing is there');
      await store.close();
    }
    expect(await readdir(join(folder, 'kv'))).toEqual([left[1]]);
  });

  it('says what is in the way when a name is both a file and a folder', async () => {
    const store = createFolderStore(folder);
    await store.write('a', new Uint8Array(1));
    const error = await rejectedBy(store.write('a/b', new Uint8Array(1)));
    expect(error.code).toBe('weights_unavailable');
    expect(error.message).toContain(`file:${folder}: cannot write a/b`);
    await store.write('c/d', new Uint8Array(1));
    expect((await rejectedBy(store.write('c', new Uint8Array(1)))).message).toContain('write c');
    expect((await rejectedBy(store.remove('c'))).message).toContain('cannot remove c');
    expect((await readdir(folder)).toSorted()).toEqual(['a', 'c']);
  });

  it('makes its folder only when something is written', async () => {
    const path = join(folder, 'later');
    const store = createFolderStore(path);
    expect(await store.head('a')).toBeNull();
    await store.remove('a');
    expect(existsSync(path)).toBe(false);
    await store.write('a', new Uint8Array(1));
    expect(await readdir(path)).toEqual(['a']);
  });
});
