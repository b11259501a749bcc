import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const MAIN = resolve('dist/infra/bench/main.js');
const CHILDREN = resolve('dist/infra/bench/children.js');
const RESULTS = resolve('dist/infra/bench/results.js');
const LONG_RUN = ['engine', '--sizes', 'mini', '--only', 'gemlet', '--quick', '--rounds', '200'];

interface Run {
  readonly child: ChildProcess;
  /** Resolves when it has said `pattern`. */
  said(pattern: RegExp): Promise<void>;
  /**
   * What it said, and how it ended; only after its children, whose output goes to the same pipes, have
   * ended too.
   */
  readonly ended: Promise<{ readonly code: number | null; readonly text: string }>;
}

describe('a bench run that is stopped', () => {
  let folder: string;
  let runs: Run[];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gemlet-results-'));
    writeFileSync(join(folder, 'package.json'), '{"version":"0.0.0"}');
    runs = [];
  });
  afterEach(async () => {
    for (const { child } of runs) child.kill('SIGKILL');
    await Promise.all(runs.map(({ ended }) => ended));
    rmSync(folder, { recursive: true, force: true });
  });

  function start(args: readonly string[]): Run {
    const child = spawn(process.execPath, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    let onText: (() => void) | null = null;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (piece: string) => {
        text += piece;
        onText?.();
      });
    }
    const ended = new Promise<{ code: number | null; text: string }>((end) => {
      child.once('close', (code) => end({ code, text }));
    });
    const run: Run = {
      child,
      ended,
      said: (pattern) =>
        new Promise((found, fail) => {
          const look = (): void => {
            if (pattern.test(text)) found();
          };
          onText = look;
          look();
          void ended.then(() => fail(new Error(`ended without ${pattern}: ${text}`)));
        }),
    };
    runs.push(run);
    return run;
  }

  function readReport(): {
    readonly sizes: readonly { readonly rounds: readonly { readonly gemlet: unknown }[] }[];
    readonly partial: { readonly kept: number; readonly planned: number; readonly reason: string };
  } {
    const [name = '', ...others] = readdirSync(join(folder, 'bench-results'));
    expect(name).toMatch(/^engine-.*\.json$/);
    expect(others).toEqual([]);
    return JSON.parse(readFileSync(join(folder, 'bench-results', name), 'utf8')) as never;
  }

  it('by SIGTERM: keeps and prints what it measured, says what is left, and ends its children', async () => {
    const run = start([MAIN, ...LONG_RUN]);
    await run.said(/round 3 of 200/);
    run.child.kill('SIGTERM');
    const { code, text } = await run.ended;
    expect(code).toBe(143);
    const { sizes, partial } = readReport();
    expect(partial.reason).toBe('SIGTERM');
    expect(partial.planned).toBe(200);
    expect(partial.kept).toBeGreaterThanOrEqual(2);
    const measured = sizes[0]?.rounds.filter(({ gemlet }) => gemlet !== null);
    expect(measured).toHaveLength(partial.kept);
    expect(text).toContain('| prefill, 512 tokens |');
    const left = partial.planned - partial.kept;
    expect(text).toContain(`PARTIAL (SIGTERM): ${partial.kept} of 200 measured, ${left} left out`);
  });

  it('by SIGKILL: its file holds what was measured, and its children end', async () => {
    const run = start([MAIN, ...LONG_RUN]);
    await run.said(/round 2 of 200/);
    run.child.kill('SIGKILL');
    expect((await run.ended).code).toBeNull();
    const { sizes, partial } = readReport();
    expect(partial).toMatchObject({ planned: 200, reason: 'still running' });
    expect(sizes[0]?.rounds[0]?.gemlet).not.toBeNull();
  });

  it('by a part that fails: keeps the parts before it, and ends with 1', async () => {
    const script = join(folder, 'suite.mjs');
    writeFileSync(
      script,
      `import { recordResults } from ${JSON.stringify(RESULTS)};
await recordResults({ suite: 'engine', planned: 3, format: (rows) => rows.join(' and ') }, async (keep) => {
  keep(['one']);
  keep(['one', 'two']);
  throw new Error('the third broke');
});
`,
    );
    const { code, text } = await start([script]).ended;
    expect(code).toBe(1);
    expect(readReport()).toMatchObject({
      results: ['one', 'two'],
      partial: { kept: 2, planned: 3, reason: 'the third broke' },
    });
    expect(text).toContain('one and two\nPARTIAL (the third broke): 2 of 3 measured, 1 left out');
  });

  it('not at all: has the same file without the mark', async () => {
    const run = start([MAIN, ...LONG_RUN.slice(0, -1), '1']);
    expect((await run.ended).code).toBe(0);
    const report = readReport();
    expect(report.partial).toBeUndefined();
    expect(report.sizes[0]?.rounds).toHaveLength(1);
  });

  it.runIf(process.platform === 'linux')(
    'by SIGKILL: even a child ends that hears of nothing, since it is busy',
    async () => {
      const busy = join(folder, 'busy.mjs');
      writeFileSync(busy, "console.log('child is busy');\nfor (;;);\n");
      const parent = join(folder, 'parent.mjs');
      writeFileSync(
        parent,
        `import { startChild } from ${JSON.stringify(CHILDREN)};
startChild(${JSON.stringify(busy)}, []);
setInterval(() => {}, 1000);
`,
      );
      const run = start([parent]);
      await run.said(/child is busy/);
      run.child.kill('SIGKILL');
      expect((await run.ended).text).toBe('child is busy\n');
    },
  );
});
