import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  ORT_INTEGRITY,
  provideLibrary,
  type LibraryOptions,
} from '../../../../adapters/node/library/provide-library.ts';
import { libraryFolder, libraryName, ORT_VERSION } from '../../../../adapters/onnx/ort-library.ts';
import { rejectedBy } from '../../../support/thrown-by.ts';

describe('provideLibrary', () => {
  let folder: string;
  let told: string[];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gemlet-library-'));
    told = [];
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(folder, { recursive: true, force: true });
  });

  const cache = (): string => join(folder, 'cache');
  const kept = (): string[] => (existsSync(cache()) ? readdirSync(cache()) : []);

  /** An archive as npm's, made by tar, of a package with other platforms' and Node.js's files too. */
  const archive = (): { readonly path: string; readonly integrity: string } => {
    const files = {
      'package.json': '{}',
      [`${libraryFolder()}/${libraryName()}`]: 'the library',
      [`${libraryFolder()}/beside.dll`]: 'x'.repeat(100_000),
      [`${libraryFolder()}/binding.node`]: 'an addon',
      [`${libraryFolder()}/deeper/${libraryName()}`]: 'another',
      'bin/napi-v6/plan9/mips/libonnxruntime.so.1': 'for another system',
    };
    for (const [path, text] of Object.entries(files)) {
      const to = join(folder, 'package', path);
      mkdirSync(dirname(to), { recursive: true });
      writeFileSync(to, text);
    }
    const path = join(folder, 'archive.tgz');
    execFileSync('tar', ['--format=ustar', '-czf', path, '-C', folder, 'package']);
    return { path, integrity: integrityOf(path) };
  };

  /** A script in npm's place; `body` sees the arguments and where the archive goes. */
  const npmThat = (body: string): readonly [string, string] => {
    const script = join(folder, 'npm-cli.mjs');
    const start = `import { appendFileSync, copyFileSync } from 'node:fs';
      const args = process.argv.slice(2);
      appendFileSync(${JSON.stringify(join(folder, 'calls'))}, args.join(' ') + '\\n');
      const to = args[args.indexOf('--pack-destination') + 1] + '/onnxruntime-node-${ORT_VERSION}.tgz';`;
    writeFileSync(script, `${start}\n${body}`);
    return [process.execPath, script];
  };
  const calls = (): string[] => readFileSync(join(folder, 'calls'), 'utf8').trim().split('\n');
  const provide = (options: LibraryOptions): Promise<string> =>
    provideLibrary({
      installed: null,
      folder: cache(),
      tell: (line) => told.push(line),
      ...options,
    });

  it('takes the installed library and asks npm nothing', async () => {
    const npm = npmThat(fails('called'));
    expect(await provide({ installed: '/there/lib.so', npm })).toBe('/there/lib.so');
    expect(existsSync(join(folder, 'calls'))).toBe(false);
  });

  it('fetches the pinned package without running scripts, and keeps only the libraries', async () => {
    const { path, integrity } = archive();
    const library = await provide({ npm: npmThat(copies(path)), integrity });
    expect(readFileSync(library, 'utf8')).toBe('the library');
    expect(readdirSync(dirname(library)).toSorted()).toEqual(['beside.dll', libraryName()]);
    expect(readFileSync(join(dirname(library), 'beside.dll'), 'utf8')).toBe('x'.repeat(100_000));
    expect(kept()).toHaveLength(1);
    expect(calls()).toHaveLength(1);
    expect(calls()[0]).toContain(`pack onnxruntime-node@${ORT_VERSION} --ignore-scripts`);
  });

  it('fetches once', async () => {
    const { path, integrity } = archive();
    const first = await provide({ npm: npmThat(copies(path)), integrity });
    expect(await provide({ npm: npmThat(fails('called again')), integrity })).toBe(first);
    expect(calls()).toHaveLength(1);
  });

  it('goes to the registry only for what npm has not cached, and leaves npm no second copy', async () => {
    const { path, integrity } = archive();
    const npm = npmThat(`if (args.includes('--offline')) process.exit(1);\n${copies(path)}`);
    await provide({ npm, integrity });
    expect(calls()).toHaveLength(2);
    expect(calls()[1]).not.toContain('--offline');
    expect(calls()[1]).toContain(`--cache ${cache()}`);
    expect(kept()).toHaveLength(1);
  });

  it('says what it waits for and where the library is', async () => {
    const { path, integrity } = archive();
    await provide({ npm: npmThat(copies(path)), integrity });
    expect(told[0]).toContain('fetching it (114 MB, once)');
    expect(told[1]).toContain(cache());
  });

  it('lets two starts at once both have it', async () => {
    const { path, integrity } = archive();
    const npm = npmThat(copies(path));
    const both = await Promise.all([provide({ npm, integrity }), provide({ npm, integrity })]);
    expect(both[0]).toBe(both[1]);
    expect(kept()).toHaveLength(1);
  });

  it('refuses an archive with another hash and leaves nothing of it', async () => {
    const { path } = archive();
    const error = await rejectedBy(provide({ npm: npmThat(copies(path)) }));
    expect(error.message).toContain('not the one gemlet was made with');
    expect(kept()).toEqual([]);
  });

  it('refuses an archive that ends too early', async () => {
    const { path } = archive();
    const cut = join(folder, 'cut.tgz');
    writeFileSync(cut, readFileSync(path).subarray(0, -20));
    const options = { npm: npmThat(copies(cut)), integrity: integrityOf(cut) };
    await expect(provide(options)).rejects.toThrow(/could not be fetched/);
    expect(kept()).toEqual([]);
  });

  it("gives npm's reason and the command that mends it", async () => {
    const words =
      'npm error code ENOTFOUND\nnpm error     at async Pack.exec\nnpm error A complete log of this run: x\n';
    const error = await rejectedBy(provide({ npm: npmThat(fails(words)) }));
    expect(error).toMatchObject({ code: 'backend_unavailable' });
    expect(error.message).toContain('code ENOTFOUND. Run: npm install --no-save');
    expect(error.message).toContain(`onnxruntime-node@${ORT_VERSION}`);
  });

  it('says that npm is missing', async () => {
    const error = await rejectedBy(provide({ npm: [join(folder, 'no-npm')] }));
    expect(error.message).toContain('npm is not installed');
  });

  it('names the folder it cannot write and how to choose another', async () => {
    writeFileSync(cache(), 'a file');
    const error = await rejectedBy(provide({ npm: npmThat(fails('')) }));
    expect(error.message).toContain(cache());
    expect(error.message).toContain('GEMLET_CACHE_DIR');
  });

  it('fetches nothing where that is forbidden', async () => {
    vi.stubEnv('GEMLET_ORT_FETCH', '0');
    const error = await rejectedBy(provide({ npm: npmThat(fails('called')) }));
    expect(error.message).toContain('GEMLET_ORT_FETCH');
    expect(existsSync(join(folder, 'calls'))).toBe(false);
  });

  it('ends npm when the start is given up', async () => {
    const stop = new AbortController();
    const pidFile = join(folder, 'pid');
    const npm = npmThat(
      `appendFileSync(${JSON.stringify(pidFile)}, String(process.pid)); setInterval(() => {}, 1e6);`,
    );
    const provided = rejectionOf(provide({ npm, signal: stop.signal }));
    const started = { timeout: 30_000 };
    await vi.waitFor(() => expect(readFileSync(pidFile, 'utf8')).not.toBe(''), started);
    const pid = Number(readFileSync(pidFile, 'utf8'));
    stop.abort(new Error('given up'));
    expect(await provided).toMatchObject({ message: 'given up' });
    await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow('ESRCH'), started);
    expect(kept()).toEqual([]);
  });
});

it('pins what package.json and the lockfile pin', () => {
  const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    readonly packages: Readonly<Record<string, { version: string; integrity: string }>>;
  };
  expect(lock.packages['node_modules/onnxruntime-node']).toMatchObject({
    version: ORT_VERSION,
    integrity: ORT_INTEGRITY,
  });
});

function rejectionOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => null,
    (error: unknown) => error,
  );
}

/** Bodies of npm's stand-in. */
function copies(path: string): string {
  return `copyFileSync(${JSON.stringify(path)}, to);`;
}

function fails(text: string): string {
  return `process.stderr.write(${JSON.stringify(text)}); process.exit(1);`;
}

function integrityOf(path: string): string {
  return `sha512-${createHash('sha512').update(readFileSync(path)).digest('base64')}`;
}
