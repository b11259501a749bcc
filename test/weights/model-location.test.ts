import { describe, expect, it } from 'vitest';
import { parseModelLocation } from '../../src/weights/model-location.ts';

describe('parseModelLocation', () => {
  it.each([
    ['hf:google/gemma-3-4b-it', 'google/gemma-3-4b-it', 'main'],
    ['hf://google/gemma-3-4b-it', 'google/gemma-3-4b-it', 'main'],
    ['hf:google/gemma-3-4b-it@abc123', 'google/gemma-3-4b-it', 'abc123'],
    ['hf:google/gemma-3-4b-it@refs/pr/1', 'google/gemma-3-4b-it', 'refs/pr/1'],
    ['https://huggingface.co/google/gemma-3-4b-it', 'google/gemma-3-4b-it', 'main'],
    ['https://huggingface.co/google/gemma-3-4b-it/', 'google/gemma-3-4b-it', 'main'],
    ['https://hf.co/google/gemma-3-4b-it?library=x#files', 'google/gemma-3-4b-it', 'main'],
    ['https://huggingface.co/a/b/tree/refs/pr/2', 'a/b', 'refs/pr/2'],
    ['https://huggingface.co/a/b/resolve/v1/config.json', 'a/b', 'v1'],
    ['https://huggingface.co/a/b/blob/main/config.json', 'a/b', 'main'],
  ])('reads %s as a hub repository', (location, repo, revision) => {
    expect(parseModelLocation(location)).toEqual({ type: 'hub', repo, revision });
  });

  it.each([
    ['https://host/models/gemma', 'https://host/models/gemma/'],
    ['https://host:8443/models/gemma/', 'https://host:8443/models/gemma/'],
    ['https://host', 'https://host/'],
  ])('reads %s as a folder', (location, href) => {
    const parsed = parseModelLocation(location);
    expect(parsed.type === 'base' && parsed.url.href).toBe(href);
  });

  it.each([
    'gemma',
    'hf:gemma',
    'hf:a/b/c',
    'hf:../b',
    'http://host/m/',
    'ftp://host/m/',
    'https://user:secret@host/m/',
    'https://host/m/?sig=secret',
    'https://huggingface.co/google',
    'https://huggingface.co/a/b/discussions/1',
  ])('refuses %s without repeating secrets', (location) => {
    expect(() => parseModelLocation(location)).toThrow('not the location of a model');
    expect(() => parseModelLocation(location)).not.toThrow('secret');
  });

  it('takes http only where allowed', () => {
    expect(parseModelLocation('http://127.0.0.1:1/m/', true).type).toBe('base');
    expect(() => parseModelLocation('ftp://127.0.0.1/m/', true)).toThrow();
  });
});
