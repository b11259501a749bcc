import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

/** npm's own settings would leak in from the npm that started the tests: the outer project's folder above all. */
const env = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) =>
      !/^npm_(package|lifecycle|config_local_prefix|config_package|config_call)/.test(name),
  ),
);

interface PackedFile {
  readonly path: string;
}

/**
 * What a stranger gets: the packed archive in an empty project, without install scripts and
 * without the optional engine packages, as on a machine that only talks to other engines.
 */
describe('the packed package', () => {
  let folder: string;
  let files: string[];

  beforeAll(async () => {
    if (!existsSync(join(root, 'dist/adapters/cli/main.js'))) {
      throw new Error('dist is not built: run `npm run build` first');
    }
    folder = mkdtempSync(join(tmpdir(), 'gemlet-install-'));
    const packed = await run(
      'npm',
      ['pack', '--json', '--ignore-scripts', '--pack-destination', folder],
      { cwd: root, env },
    );
    const [archive] = JSON.parse(packed.stdout) as { filename: string; files: PackedFile[] }[];
    if (archive === undefined) throw new Error(`npm pack made nothing: ${packed.stdout}`);
    files = archive.files.map((file) => file.path);
    writeFileSync(
      join(folder, 'package.json'),
      '{"name":"stranger","private":true,"type":"module"}',
    );
    const flags = ['--prefer-offline', '--ignore-scripts', '--omit=optional', '--no-audit'];
    await run('npm', ['install', ...flags, '--no-fund', `./${archive.filename}`], {
      cwd: folder,
      env,
    });
  }, 180_000);

  afterAll(() => {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });

  const gemlet = (...args: string[]): Promise<{ stdout: string }> =>
    run('npx', ['--no-install', 'gemlet', ...args], { cwd: folder, env });

  it('holds what is compiled and the demo model, and nothing of the workshop', () => {
    expect(files).toContain('dist/src/index.d.ts');
    expect(files).toContain('infra/demo-model/config.json');
    expect(files).toContain('LICENSE');
    expect(files).toContain('README.md');
    const strays = files.filter((path) => {
      return !/^(dist\/(src|adapters)\/|dist\/edge\/(worker\.js|[\w-]+\.wasm)$|infra\/(aws|cloudrun|demo-model|docker|modal|runpod)\/|src\/image\/webp\/webp-decoder\.wasm$|[A-Z]+(\.md)?$|package\.json$|wrangler\.toml$)/.test(
        path,
      );
    });
    expect(strays).toEqual([]);
    expect(files.filter((path) => /tsbuildinfo|\.map$|(?<!\.d)\.ts$/.test(path))).toEqual([]);
  });

  it('has a command that explains itself', async () => {
    const { stdout } = await gemlet('--help');
    expect(stdout).toContain('gemlet serve');
  });

  it('inspects the demo model it brings', async () => {
    const { stdout } = await gemlet('inspect', 'node_modules/gemlet/infra/demo-model');
    expect(stdout).toContain('gemma3');
  });

  it('says how to deploy, with the files it brings', async () => {
    const where = ['--project', 'my-project', '--region', 'europe-west4'];
    const what = ['--image', 'registry.example/gemlet:1', '--model', 's3://bucket/gemma'];
    const { stdout } = await gemlet('deploy', 'cloudrun', '--dry-run', ...where, ...what);
    expect(stdout).toContain('gcloud run services replace');
  });

  it('deploys the Worker and builds the image from what it brings', async () => {
    const worker = await gemlet(
      'deploy',
      'cloudflare',
      '--dry-run',
      '--replica',
      'https://r.example',
    );
    const [, main = ''] = /^main = "(.*)"$/m.exec(worker.stdout) ?? [];
    expect(main).toContain(join('node_modules', 'gemlet', 'dist', 'edge', 'worker.js'));
    for (const name of ['worker.js', 'mozjpeg_dec.wasm', 'webp-decoder.wasm']) {
      expect(existsSync(join(main, '..', name)), name).toBe(true);
    }
    // There is nothing to build with.
    expect(worker.stdout).not.toMatch(/npm .*run build/);
    const image = await gemlet('deploy', 'docker', '--dry-run', '--image', 'r.example/gemlet:1');
    const [, file = '', context = ''] =
      / --file (\S+) --tag r\.example\/gemlet:1 (\S+)$/m.exec(image.stdout) ?? [];
    const copied = readFileSync(file, 'utf8').matchAll(/^COPY (?!--from)(.*) \S+$/gm);
    const sources = Array.from(copied).flatMap(([, words = '']) => words.split(' '));
    expect(sources).toContain('dist/adapters');
    for (const source of sources) expect(existsSync(join(context, source)), source).toBe(true);
    const cuda = gemlet('deploy', 'docker', '--dry-run', '--image', 'x', '--gpu', 'cuda');
    await expect(cuda).rejects.toMatchObject({
      stderr: expect.stringContaining('built from a checkout') as string,
    });
  });

  it('is imported by name, with an engine on Node.js and without one elsewhere', async () => {
    const keys = async (specifier: string): Promise<string[]> => {
      const script = `import(${JSON.stringify(specifier)}).then((m) => console.log(JSON.stringify(Object.keys(m))))`;
      const { stdout } = await run('node', ['-e', script], { cwd: folder, env });
      return JSON.parse(stdout) as string[];
    };
    expect(await keys('gemlet')).toEqual(
      expect.arrayContaining(['createApp', 'createEngine', 'ServeError']),
    );
    // What other runtimes resolve the same name to; Node.js always takes its own condition.
    const installed = join(folder, 'node_modules/gemlet');
    const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as {
      exports: { '.': { default: { default: string } } };
    };
    const portable = await keys(join(installed, manifest.exports['.'].default.default));
    expect(portable).toContain('createApp');
    expect(portable).not.toContain('createEngine');
  });

  it('offers every adapter under its own path', async () => {
    const script =
      "import('gemlet/adapters/node/folder-source').then((m) => console.log(typeof m.createFolderSource))";
    const { stdout } = await run('node', ['-e', script], { cwd: folder, env });
    expect(stdout.trim()).toBe('function');
  });

  it('decodes a WebP with the decoder it brings', async () => {
    const picture = readFileSync(join(root, 'test/golden/images/lossy.webp')).toString('base64');
    const script = `import('gemlet/adapters/node/image-decoder')
      .then((m) => m.createNodeImageDecoder().decode(Buffer.from('${picture}', 'base64')))
      .then((image) => console.log(image.width, image.height))`;
    const { stdout } = await run('node', ['-e', script], { cwd: folder, env });
    expect(stdout.trim()).toBe('45 31');
  });

  it('has types that a strict project accepts', async () => {
    writeFileSync(
      join(folder, 'use.ts'),
      "import { createApp, ServeError } from 'gemlet';\n" +
        'export const app: ReturnType<typeof createApp> | null = null;\n' +
        "export const code: string = new ServeError('internal', 'x').code;\n" +
        '// @ts-expect-error -- would be accepted if the types were any\n' +
        'export const wrong: number = new ServeError;\n',
    );
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    const flags = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022'];
    const types = ['--typeRoots', join(root, 'node_modules/@types'), '--types', 'node'];
    const lib = ['--lib', 'es2023,webworker,webworker.asynciterable', '--skipLibCheck'];
    await run('node', [tsc, ...flags, ...lib, ...types, 'use.ts'], { cwd: folder, env });
  });
});
