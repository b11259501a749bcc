import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const execFileAsync = promisify(execFile);

/**
 * Runs TypeScript in a Node.js process of its own and gives what it printed. The code may import
 * this repository's files as `./src/...` and `./adapters/...`.
 */
export async function runScript(
  code: string,
  options: { readonly env?: Record<string, string>; readonly nodeArguments?: string[] } = {},
): Promise<string> {
  const bundle = await build({
    stdin: { contents: code, resolveDir: ROOT, loader: 'ts' },
    bundle: true,
    write: false,
    platform: 'node',
    format: 'esm',
    packages: 'external',
  });
  const run = execFileAsync(
    process.execPath,
    [...(options.nodeArguments ?? []), '--input-type=module', '-'],
    { env: { ...process.env, ...options.env }, cwd: ROOT },
  );
  run.child.stdin?.end(bundle.outputFiles[0]?.text ?? '');
  return (await run).stdout;
}
