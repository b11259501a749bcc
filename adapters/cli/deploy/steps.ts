import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { ServeError } from '../../../src/errors.ts';
import { UsageError } from '../read-options.ts';

/** One thing that a deployment does. */
export type Step =
  | { readonly kind: 'file'; readonly path: string; readonly text: string }
  | {
      readonly kind: 'run';
      readonly command: string;
      readonly args: readonly string[];
      readonly env?: Readonly<Record<string, string>>;
      /** Text for its standard input, with one environment variable named as `$NAME`, whose value is a secret. */
      readonly input?: string;
    };

export interface Plan {
  /** What a person must know or have done. */
  readonly notes: readonly string[];
  readonly steps: readonly Step[];
  /** Said when all is done: where it answers. */
  readonly ending?: readonly string[];
}

type Environment = Readonly<Record<string, string | undefined>>;

const VARIABLE = /\$([A-Z][A-Z0-9_]*)/g;

/** Where the vendors' tools come from. */
const INSTALL: Readonly<Record<string, string>> = {
  docker: 'Docker Engine with BuildKit, docs.docker.com/engine/install',
  gcloud: 'the Google Cloud CLI, cloud.google.com/sdk/docs/install',
  terraform: 'Terraform 1.5 or newer, developer.hashicorp.com/terraform/install',
  node: 'Node.js, nodejs.org',
  modal: 'Modal: pip install modal, then modal setup',
  aws: 'the AWS CLI, docs.aws.amazon.com/cli',
  npm: 'Node.js, nodejs.org',
  npx: 'npm, which comes with Node.js',
};

/** The plan as a script for sh; secrets stay names of variables. */
export function planText(plan: Plan): string {
  return [
    // Stops where a tool fails, as we do.
    'set -e',
    ...plan.notes.map((note) => `# ${note}`),
    ...plan.steps.map(stepText),
    ...(plan.ending ?? []).map((line) => `echo ${quote(line)}`),
  ].join('\n');
}

function stepText(step: Step): string {
  if (step.kind === 'file') {
    const text = step.text.endsWith('\n') ? step.text : `${step.text}\n`;
    const path = quote(step.path);
    return `mkdir -p ${quote(dirname(step.path))}\ncat > ${path} <<'END_OF_FILE'\n${text}END_OF_FILE`;
  }
  const { command, args, env = {}, input } = step;
  const settings = Object.entries(env).map(([name, value]) => `${name}=${quote(value)}`);
  const line = [...settings, ...[command, ...args].map(quote)].join(' ');
  return input === undefined ? line : `${line} <<END_OF_INPUT\n${input}\nEND_OF_INPUT`;
}

/** One word of a shell's command line. */
function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/**
 * Does what the plan says, step by step, with the tools' output on this process's.
 * @throws UsageError for missing variables, before anything is done; ServeError backend_unavailable for
 *   tools that are missing or fail, whose own output says why
 */
export async function runPlan(
  plan: Plan,
  environment: Environment,
  signal: AbortSignal,
): Promise<void> {
  const runs = plan.steps.filter((step) => step.kind === 'run');
  for (const { input = '' } of runs) expand(input, environment);
  for (const note of plan.notes) process.stderr.write(`${note}\n`);
  for (const step of plan.steps) {
    signal.throwIfAborted();
    if (step.kind === 'file') {
      mkdirSync(dirname(step.path), { recursive: true });
      writeFileSync(step.path, step.text);
    } else {
      await runStep(step, environment, signal);
    }
  }
}

function runStep(
  { command, args, env, input }: Extract<Step, { kind: 'run' }>,
  environment: Environment,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: { ...environment, ...env },
      stdio: [input === undefined ? 'inherit' : 'pipe', 'inherit', 'inherit'],
      signal,
    });
    child.on('error', (error) => {
      const isMissing = 'code' in error && error.code === 'ENOENT';
      const hint = `${command} is not installed. It comes with ${INSTALL[command] ?? command}.`;
      reject(isMissing ? new ServeError('backend_unavailable', hint, { cause: error }) : error);
    });
    child.on('close', (code, killed) => {
      if (code === 0) resolve();
      else reject(failed(command, code ?? killed));
    });
    // A tool may end without reading what it is told.
    child.stdin?.on('error', () => undefined);
    if (input !== undefined) child.stdin?.end(`${expand(input, environment)}\n`);
  });
}

function failed(command: string, code: number | string | null): ServeError {
  return new ServeError('backend_unavailable', `${command} ended with ${code}: see above.`);
}

function expand(text: string, environment: Environment): string {
  return text.replaceAll(VARIABLE, (_, name: string) => {
    const value = environment[name];
    if (value === undefined || value === '') {
      throw new UsageError(`Set ${name} in the environment: it is needed and not written down.`);
    }
    return value;
  });
}
