import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ROOT } from '../support/infra.ts';

const SECRETS = ['.dev.vars', '.dev.vars.staging', '.env', '.env.local', 'infra/docker/.env'];
const STATE = ['.wrangler/state/v3/r2/x', 'gemlet-deploy/gemlet-runpod.json'];

it.each([...SECRETS, ...STATE])('git does not see %s', (path) => {
  const { status } = spawnSync('git', ['check-ignore', '--quiet', '--no-index', path], {
    cwd: ROOT,
  });
  expect(status).toBe(0);
});

it('no image is built from files that hold secrets', () => {
  const rules = readFileSync(join(ROOT, '.dockerignore'), 'utf8').split('\n');
  // The last rule that matches counts, so exclusions come after what is let in.
  const lastLetIn = rules.findLastIndex((rule) => rule.startsWith('!'));
  for (const rule of ['**/.dev.vars*', '**/.env*', '**/.wrangler']) {
    expect(rules.indexOf(rule)).toBeGreaterThan(lastLetIn);
  }
});
