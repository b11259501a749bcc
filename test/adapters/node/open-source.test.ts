import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  diskBytesOf,
  openModelSource,
  openModelStore,
} from '../../../adapters/node/open-source.ts';
import { stubAwsEnvironment } from '../../support/aws-environment.ts';
import { FAKE_KEYS, startFakeS3 } from '../../support/fake-s3.ts';
import { thrownBy } from '../../support/thrown-by.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gemlet open-'));
  await writeFile(join(folder, 'config.json'), '{}');
});
afterEach(() => rm(folder, { recursive: true }));

describe('openModelSource', () => {
  it('opens a folder by its path, with file: before it, and by its URL', async () => {
    for (const location of [folder, `${folder}/`, `file:${folder}`, pathToFileURL(folder).href]) {
      const { source, id } = openModelSource(location);
      expect(source.name).toBe(`file:${folder}`);
      expect(id).toBe(basename(folder));
      expect((await source.head('config.json'))?.sizeBytes).toBe(2);
      await source.close();
    }
  });

  it('opens S3 at the endpoint and with the keys of the environment', async () => {
    const server = await startFakeS3();
    server.put('models/gemma-3/config.json', new Uint8Array(5));
    stubAwsEnvironment(FAKE_KEYS, server.region);
    vi.stubEnv('AWS_ENDPOINT_URL_S3', server.endpoint);
    try {
      const { source, id } = openModelSource('s3://models/models/gemma-3/');
      expect([source.name, id]).toEqual(['s3://models/models/gemma-3', 'gemma-3']);
      expect((await source.head('config.json'))?.sizeBytes).toBe(5);
      await source.close();
      expect(openModelSource('s3://models').id).toBe('models');
      vi.stubEnv('AWS_ENDPOINT_URL', server.endpoint);
      vi.stubEnv('AWS_ENDPOINT_URL_S3', '');
      const other = openModelSource('s3://models/models/gemma-3').source;
      expect((await other.head('config.json'))?.sizeBytes).toBe(5);
      await other.close();
    } finally {
      vi.unstubAllEnvs();
      await server.close();
    }
  });

  it('still opens the demo model, the hub and the web', () => {
    expect(openModelSource('demo').id).toBe('gemlet-demo');
    expect(openModelSource('hf:org/name').source.name).toBe('hf:org/name');
    expect(openModelSource('https://host/a/gemma').id).toBe('gemma');
  });

  it('says what can be given', () => {
    const { code, message } = thrownBy(() => openModelSource('file:/nowhere/at/all'));
    expect(code).toBe('weights_unavailable');
    for (const form of ['folder', 'hf:org/name', 's3://bucket/folder', 'https', '"demo"']) {
      expect(message).toContain(form);
    }
    expect(thrownBy(() => openModelSource('s3:bucket')).code).toBe('invalid_url');
    expect(thrownBy(() => openModelSource('file://host/share')).code).toBe('invalid_url');
  });
});

describe('openModelStore', () => {
  it('opens folders that need not exist yet, and S3', async () => {
    const store = openModelStore(`file:${folder}/new`);
    await store.write('a', new Uint8Array(3));
    await store.close();
    const { source } = openModelSource(`${folder}/new`);
    expect((await source.head('a'))?.sizeBytes).toBe(3);
    await source.close();
    expect(openModelStore('s3://bucket/a').name).toBe('s3://bucket/a');
  });

  it('knows how large the disk is, also of a folder that is not there yet', () => {
    const bytes = diskBytesOf(folder) ?? 0;
    expect(bytes).toBeGreaterThan(1e6);
    expect(diskBytesOf(`file:${folder}/not/there/yet`)).toBe(bytes);
    expect(diskBytesOf('s3://bucket/a')).toBeNull();
  });

  it.each(['demo', 'hf:org/name', 'https://host/a'])('cannot write to %s', (location) => {
    const { code, message } = thrownBy(() => openModelStore(location));
    expect(code).toBe('invalid_url');
    expect(message).toContain('s3://bucket/folder');
  });
});
