import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

describe('the edge bundle', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gemlet-edge-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const bundle = (source: string): Promise<{ ok: boolean; output: string }> => {
    const entry = join(folder, 'entry.ts');
    writeFileSync(entry, source);
    const args = ['infra/build.mjs', '--entry', entry, '--outfile', join(folder, 'out.js')];
    return new Promise((resolve) => {
      execFile('node', args, { cwd: root }, (error, stdout, stderr) => {
        resolve({ ok: error === null, output: stdout + stderr });
      });
    });
  };

  it('holds the whole app without a Node.js built-in and under its size limit', async () => {
    const app = JSON.stringify(join(root, 'src/app.ts'));
    const { ok, output } = await bundle(`export { createApp } from ${app};`);
    expect(output).toMatch(/\d+ kB minified, limit 400 kB/);
    expect(ok).toBe(true);
    const text = readFileSync(join(folder, 'out.js'), 'utf8');
    expect(text).toContain('/v1/chat/completions');
  });

  it('refuses a Node.js built-in under both of its names, and says who imports it', async () => {
    for (const name of ['node:fs', 'fs']) {
      const { ok, output } = await bundle(`import fs from '${name}'; export { fs };`);
      expect(ok).toBe(false);
      expect(output).toContain(`${name} is a Node.js built-in, imported by ${folder}`);
    }
  });

  it('refuses to grow past its limit', async () => {
    const { ok, output } = await bundle(`export const text = '${'x'.repeat(401_000)}';`);
    expect(ok).toBe(false);
    expect(output).toContain('the edge bundle is too large');
  });
});
