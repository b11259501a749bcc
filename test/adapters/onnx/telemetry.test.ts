import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runScript } from '../../support/run-script.ts';

const ASK = `
  const { createPipeline } = await import(ADAPTERS + '/node/pipeline.js');
  const gemma = await createPipeline({ model: 'demo' });
  console.log(await gemma([{ role: 'user', content: 'Hello!' }], { temperature: 0, maxTokens: 4 }));
  await gemma.close();
`;

/** The library as its makers ship it reports sessions, and first writes an identifier of this machine. */
describe('ONNX Runtime', () => {
  let home: string;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'gemlet-home-'));
  });
  afterEach(() => rmSync(home, { recursive: true, force: true }));

  const run = (code: string): Promise<string> =>
    // It is silent in continuous integration.
    runScript(code, { env: { HOME: home, XDG_CACHE_HOME: join(home, 'cache'), CI: '' } });

  const adapters = JSON.stringify(new URL('../../../dist/adapters', import.meta.url).href);

  it('reports nothing about what gemlet runs', async () => {
    expect(await run(`const ADAPTERS = ${adapters}; ${ASK}`)).not.toBe('');
    expect(existsSync(join(home, 'cache/gemlet'))).toBe(true);
    expect(existsSync(join(home, 'cache/Microsoft'))).toBe(false);
  });

  it('reports nothing from a worker thread either', async () => {
    const script = `const ADAPTERS = ${adapters}; (async () => { ${ASK} })();`;
    const start = `import { Worker } from 'node:worker_threads';
      new Worker(${JSON.stringify(script)}, { eval: true });`;
    expect(await run(start)).not.toBe('');
    expect(existsSync(join(home, 'cache/gemlet'))).toBe(true);
    expect(existsSync(join(home, 'cache/Microsoft'))).toBe(false);
  });
});
