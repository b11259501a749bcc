import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import { createHttpsSource } from '../../src/weights/https-source.ts';
import { pathOf, startObjectServer } from '../support/object-server.ts';
import type { ObjectServer } from '../support/object-server.ts';

describe('a hub repository', () => {
  const COMMIT = 'a'.repeat(40);
  const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i & 255);
  let hub: ObjectServer;
  let cdn: ObjectServer;
  const open = (location = 'hf:google/gemma-3-4b-it', token: string | null = 'hf_secret') =>
    createHttpsSource(location, { token, allowHttp: true, hubEndpoint: hub.origin });
  const answer = (status: number, headers: Record<string, string> = {}): void => {
    hub.intercept = (_request, response) => {
      response.writeHead(status, headers).end();
      return true;
    };
  };
  const headFault = async (source = open()): Promise<string> => {
    const error: unknown = await source.head('config.json').catch((reason: unknown) => reason);
    if (!ServeError.is(error)) throw new Error('expected a ServeError', { cause: error });
    expect(error.code).toBe('weights_unavailable');
    expect(error.message).not.toContain('hf_secret');
    return error.message;
  };

  beforeEach(async () => {
    [hub, cdn] = await Promise.all([startObjectServer(), startObjectServer()]);
    cdn.objects.set('/xet/blob', bytes);
    hub.intercept = (request, response) => {
      if (!pathOf(request).endsWith('.safetensors')) return false;
      response.writeHead(302, {
        location: `${cdn.origin}/xet/blob?sig=1`,
        'x-linked-size': String(bytes.length),
        'x-linked-etag': '"the-sha256"',
        'x-repo-commit': COMMIT,
      });
      response.end();
      return true;
    };
  });
  afterEach(() => Promise.all([hub.close(), cdn.close()]));

  it('takes size and hash from the hub and bytes from its CDN, which never sees the token', async () => {
    const source = open();
    expect(await source.head('model.safetensors')).toEqual({
      sizeBytes: bytes.length,
      etag: '"the-sha256"',
    });
    expect(cdn.requests.length).toBe(0);
    const target = new Uint8Array(10);
    await source.read('model.safetensors', 5, target);
    expect([...target]).toEqual([...bytes.subarray(5, 15)]);
    expect(hub.requests[0]?.headers.authorization).toBe('Bearer hf_secret');
    expect(cdn.requests[0]?.headers.authorization).toBeUndefined();
    // The CDN's etag is its own, not the one the hub told.
    expect(cdn.requests[0]?.headers['if-match']).toBeUndefined();
  });

  it('stays with the commit it met first, whatever happens to the branch', async () => {
    const source = open();
    await source.head('model.safetensors');
    await source.head('model-2.safetensors');
    expect(hub.requests.map(pathOf)).toEqual([
      '/google/gemma-3-4b-it/resolve/main/model.safetensors',
      `/google/gemma-3-4b-it/resolve/${COMMIT}/model-2.safetensors`,
    ]);
  });

  it('asks for the revision it is told', async () => {
    await open('hf:google/gemma-3-4b-it@refs/pr/3').head('config.json');
    expect(hub.requests[0]?.url).toBe('/google/gemma-3-4b-it/resolve/refs%2Fpr%2F3/config.json');
  });

  it('tells absent files from absent models', async () => {
    answer(404, { 'x-error-code': 'EntryNotFound' });
    expect(await open().head('config.json')).toBeNull();
    answer(404, { 'x-error-code': 'RepoNotFound' });
    expect(await headFault()).toContain('google/gemma-3-4b-it does not exist');
    answer(404, { 'x-error-code': 'RevisionNotFound' });
    expect(await headFault(open('hf:a/b@v9'))).toContain('a/b has no revision v9');
  });

  it('explains how to get access to a gated model', async () => {
    answer(401, { 'x-error-code': 'GatedRepo' });
    const without = await headFault(open('hf:google/gemma-3-4b-it', null));
    expect(without).toContain(`accept the licence on ${hub.origin}/google/gemma-3-4b-it`);
    expect(without).toContain('set HF_TOKEN');
    answer(403, { 'x-error-code': 'GatedRepo' });
    expect(await headFault()).toContain('the token');
  });

  it('lists the files of the repository', async () => {
    hub.intercept = (request, response) => {
      expect(pathOf(request)).toBe('/api/models/google/gemma-3-4b-it/tree/main');
      response.end(JSON.stringify([{ type: 'file', path: 'gemma.gguf' }, { path: 3 }, null]));
      return true;
    };
    expect(await open().list?.()).toEqual(['gemma.gguf']);
  });
});
