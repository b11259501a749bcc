// @ts-check
// After `tsc -b`: drops compiled files without a source, then bundles the edge half, which must reach
// no Node.js built-in and stay small.
import { stat } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { pruneDist } from './prune-dist.mjs';

/** Cloudflare's free plan takes 3 MB compressed; this keeps cold starts of an isolate short. */
const LIMIT_BYTES = 400_000;

const { values } = parseArgs({
  options: {
    entry: { type: 'string', default: 'src/index.ts' },
    outfile: { type: 'string', default: 'dist/edge/gemlet.js' },
  },
});

/** Names the import that would fail in a Worker, and the file that asks for it. @type {import('esbuild').Plugin} */
const refuseBuiltins = {
  name: 'refuse-builtins',
  setup(bundle) {
    bundle.onResolve({ filter: /^[a-z]/ }, ({ path, importer, kind }) => {
      if (kind === 'entry-point' || !isBuiltin(path)) return null;
      return { errors: [{ text: `${path} is a Node.js built-in, imported by ${importer}` }] };
    });
  },
};

for (const path of pruneDist('.')) console.log(`deleted ${path}: its source is gone`);

try {
  await build({
    entryPoints: [values.entry],
    outfile: values.outfile,
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'neutral',
    target: 'es2022',
    conditions: ['workerd', 'worker'],
    mainFields: ['module', 'main'],
    legalComments: 'eof',
    plugins: [refuseBuiltins],
    logLevel: 'warning',
  });
} catch {
  // esbuild has printed every error with its place.
  process.exit(1);
}

const { size } = await stat(values.outfile);
console.log(
  `${values.outfile}: ${(size / 1000).toFixed(0)} kB minified, limit ${LIMIT_BYTES / 1000} kB`,
);
if (size > LIMIT_BYTES) {
  console.error('the edge bundle is too large: look at what was added with esbuild --analyze');
  process.exit(1);
}
