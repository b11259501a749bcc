import { parseDeployOptions } from './options.ts';
import { planFor } from './plans.ts';
import { planText, runPlan } from './steps.ts';
import { UsageError } from '../read-options.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * `gemlet deploy <platform>`: what would be run, as text, or what was run.
 * @throws UsageError
 */
export async function deploy(args: readonly string[], environment: Environment): Promise<string> {
  const options = parseDeployOptions(args);
  const plan = planFor(options);
  if (options.isDryRun) return planText(plan);
  const stop = new AbortController();
  const onSignal = (): void => stop.abort(new UsageError('Stopped.'));
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  try {
    await runPlan(plan, environment, stop.signal);
  } finally {
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
  }
  const done = options.platform === 'docker' ? 'built' : `deployed to ${options.platform}`;
  return [`${options.name} is ${done}.`, ...(plan.ending ?? [])].join('\n');
}
