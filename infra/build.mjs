// @ts-check
// After `tsc -b`: drops compiled files without a source, then bundles the edge half and the Worker, which
// must reach no Node.js built-in and stay small.
import { rm } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { pruneDist } from './prune-dist.mjs';

/** Cloudflare takes 64 MiB; these keep cold starts of an isolate short. */
const LIMIT_BYTES = 400_000;
/** With the decoders' wasm, which takes 300 kB. */
const WORKER_LIMIT_BYTES = 800_000;

const { values } = parseArgs({
  options: { entry: { type: 'string' }, outfile: { type: 'string' } },
});

/** Names the import that would fail in a Worker, and the file that asks for it. @type {import('esbuild').Plugin} */
const refuseBuiltins = {
  name: 'refuse-builtins',
  setup(plugin) {
    plugin.onResolve({ filter: /^[a-z]/ }, ({ path, importer, kind }) => {
      if (kind === 'entry-point' || !isBuiltin(path)) return null;
      return { errors: [{ text: `${path} is a Node.js built-in, imported by ${importer}` }] };
    });
  },
};

for (const path of pruneDist('.')) console.log(`deleted ${path}: its source is gone`);

if (values.entry === undefined) {
  await writeBundle('src/index.ts', 'dist/edge/gemlet.js', LIMIT_BYTES);
  await writeBundle('adapters/cloudflare/worker.ts', 'dist/edge/worker.js', WORKER_LIMIT_BYTES);
} else {
  await writeBundle(values.entry, values.outfile ?? 'dist/edge/other.js', LIMIT_BYTES);
}

/**
 * @param {string} entry
 * @param {string} outfile
 * @param {number} limitBytes of the script and the files beside it
 */
async function writeBundle(entry, outfile, limitBytes) {
  await rm(outfile, { force: true });
  /** @type {import('esbuild').Metafile} */
  let metafile;
  try {
    ({ metafile } = await build({
      entryPoints: [entry],
      outfile,
      bundle: true,
      minify: true,
      metafile: true,
      format: 'esm',
      platform: 'neutral',
      target: 'es2022',
      conditions: ['workerd', 'worker'],
      mainFields: ['module', 'main'],
      legalComments: 'eof',
      // Cloudflare compiles them when the Worker is deployed.
      loader: { '.wasm': 'copy' },
      assetNames: '[name]',
      plugins: [refuseBuiltins],
      logLevel: 'warning',
    }));
  } catch {
    // esbuild has printed every error with its place.
    process.exit(1);
  }
  const size = Object.values(metafile.outputs).reduce((sum, { bytes }) => sum + bytes, 0);
  console.log(`${outfile}: ${(size / 1000).toFixed(0)} kB minified, limit ${limitBytes / 1000} kB`);
  if (size > limitBytes) {
    console.error('the edge bundle is too large: look at what was added with esbuild --analyze');
    process.exit(1);
  }
}
