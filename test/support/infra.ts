import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseServeOptions, type ServeOptions } from '../../adapters/cli/options.ts';
import { parseDeployOptions } from '../../adapters/cli/deploy/options.ts';
import { planFor } from '../../adapters/cli/deploy/plans.ts';
import type { Plan, Step } from '../../adapters/cli/deploy/steps.ts';
import type { Completer } from '../../src/completer.ts';
import { createAppHarness } from './app-harness.ts';

export const ROOT: string = fileURLToPath(new URL('../..', import.meta.url));

export function infraFile(path: string): string {
  return readFileSync(`${ROOT}/infra/${path}`, 'utf8');
}

export function deployPlan(line: string): Plan {
  return planFor(parseDeployOptions(line.split(' ').filter((word) => word !== '')));
}

/** The one file that a deployment writes. */
export function writtenText(plan: Plan): string {
  const file = plan.steps.find((step) => step.kind === 'file');
  if (file === undefined) throw new Error('nothing is written');
  return file.text;
}

export function commandsOf(plan: Plan): Extract<Step, { kind: 'run' }>[] {
  return plan.steps.filter((step) => step.kind === 'run');
}

/**
 * What `gemlet serve` makes of a container's environment.
 * @throws Error for a variable that it would ignore; UsageError for values it refuses
 */
export function serveWith(environment: Readonly<Record<string, string>>): ServeOptions {
  for (const name of Object.keys(environment)) {
    if (name.startsWith('GEMLET_') && !isServeFlag(flagOf(name))) {
      throw new Error(`gemlet serve does not read ${name}`);
    }
  }
  return parseServeOptions([], environment);
}

function flagOf(variable: string): string {
  return variable.replace('GEMLET_', '').toLowerCase().replaceAll('_', '-');
}

function isServeFlag(flag: string): boolean {
  try {
    parseServeOptions([`--${flag}=1`], {});
    return true;
  } catch (error) {
    return !(error instanceof Error && error.message.includes('Unknown option'));
  }
}

/** What a probe gets, who has no key, of a server in this state that asks for one. */
export async function probe(
  path: string,
  state: Completer['state'],
  pingPath?: string,
): Promise<number> {
  const { completer, send } = createAppHarness({
    apiKeys: ['secret'],
    ...(pingPath === undefined ? {} : { pingPath }),
  });
  completer.state = state;
  return (await send(path)).status;
}
