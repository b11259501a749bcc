import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '../read-options.ts';
import { type DeployOptions, needReplicas } from './options.ts';
import { isCheckout, packageRoot } from './shared.ts';
import type { Plan, Step } from './steps.ts';

/** Pinned, so that the same command does the same tomorrow. */
const WRANGLER = 'wrangler@4.164.0';

/** What this wrangler asks for; npx would run it with an older Node.js as well, and it fails there. */
const CHECK_NODE = [
  "const [major, minor] = process.versions.node.split('.').map(Number);",
  'if (major < 22 || (major === 22 && minor < 12)) {',
  '  console.error(`wrangler needs Node.js 22.12 or newer, and this is ${process.versions.node}: install one, such as 24, for this command. gemlet itself runs on both.`);',
  '  process.exit(1);',
  '}',
].join('\n');

/** @throws UsageError */
export function cloudflarePlan(options: DeployOptions): Plan {
  const { name } = options;
  const root = packageRoot();
  const config = `gemlet-deploy/${name}-cloudflare/wrangler.toml`;
  const place = ['--config', config, '--name', name];
  const wrangler = ['--yes', WRANGLER];
  const secret = (binding: string, variable: string): Step => ({
    kind: 'run',
    command: 'npx',
    args: [...wrangler, 'secret', 'put', binding, ...place],
    input: `$${variable}`,
  });
  const settings: Readonly<Record<string, string | null>> = {
    AFFINITY: options.get('affinity'),
    BUNDLE: options.get('bundle'),
    MODEL_ID: options.get('model-id'),
    CONTEXT_TOKENS: options.get('context'),
    REPLICAS: needReplicas(options),
  };
  const vars = Object.entries(settings).flatMap(([key, value]) =>
    value === null ? [] : ['--var', `${key}:${value}`],
  );
  return {
    notes: [
      `What no option says stands in ${join(root, 'wrangler.toml')}, as does what to make first: bucket, queues, bundle`,
      'Secrets are read from GEMLET_FLEET_KEY and GEMLET_API_KEY in the environment',
    ],
    steps: [
      { kind: 'run', command: 'node', args: ['-e', CHECK_NODE] },
      ...(isCheckout()
        ? [{ kind: 'run', command: 'npm', args: ['--prefix', root, 'run', 'build'] } as const]
        : []),
      { kind: 'file', path: config, text: configText(root, options.get('bucket')) },
      // Before the Worker, which without them would answer everybody with an error.
      secret('FLEET_KEYS', 'GEMLET_FLEET_KEY'),
      secret('API_KEYS', 'GEMLET_API_KEY'),
      { kind: 'run', command: 'npx', args: [...wrangler, 'deploy', ...place, ...vars] },
    ],
    ending: [`wrangler shows its address above: https://${name}.<your subdomain>.workers.dev`],
  };
}

/** The package's wrangler.toml, to be read from another folder, with nothing left to build. */
function configText(root: string, bucket: string | null): string {
  const file = join(root, 'wrangler.toml');
  const script = join(root, 'dist/edge/worker.js');
  if (!existsSync(file) || !(isCheckout() || existsSync(script))) {
    throw new UsageError('The package lacks wrangler.toml or dist/edge: install it anew.');
  }
  const text = readFileSync(file, 'utf8')
    .replace(/^main = .*$/m, () => `main = ${JSON.stringify(script)}`)
    .replace(/^\[build\]\n(?:.+\n)+\n/m, '');
  return bucket === null
    ? text
    : text.replace(/^bucket_name = .*$/m, () => `bucket_name = ${JSON.stringify(bucket)}`);
}
