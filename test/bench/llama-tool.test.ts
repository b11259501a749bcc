import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ensureLlamaTool, hasLlamaTool } from '../../infra/bench/llama-tool.ts';

describe('ensureLlamaTool', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gemlet-llama-tool-'));
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(folder, { recursive: true, force: true });
  });

  const install = (version: string): void => {
    const home = join(folder, 'node_modules/@node-llama-cpp/linux-x64');
    mkdirSync(home, { recursive: true });
    writeFileSync(join(home, 'package.json'), JSON.stringify({ version }));
  };

  it('takes the pinned version as installed and no other, for the structs are those of its release', () => {
    expect(hasLlamaTool(folder)).toBe(false);
    install('3.22.0');
    expect(hasLlamaTool(folder)).toBe(false);
    install('3.22.1');
    expect(hasLlamaTool(folder)).toBe(true);
    const lines: string[] = [];
    ensureLlamaTool(folder, (line) => lines.push(line));
    expect(lines).toEqual([]);
  });

  it('says how to go on when llama.cpp cannot be had', () => {
    vi.stubEnv('PATH', folder);
    expect(() => ensureLlamaTool(folder, () => {})).toThrow(/--only gemlet/);
  });
});
