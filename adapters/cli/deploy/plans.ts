import { awsPlan } from './aws.ts';
import { cloudflarePlan } from './cloudflare.ts';
import { cloudRunPlan } from './cloudrun.ts';
import { dockerPlan } from './docker.ts';
import { modalPlan } from './modal.ts';
import type { DeployOptions } from './options.ts';
import { runpodPlan } from './runpod.ts';
import type { Plan } from './steps.ts';

/**
 * What deploying takes.
 * @throws UsageError for what is missing
 */
export function planFor(options: DeployOptions): Plan {
  switch (options.platform) {
    case 'docker':
      return dockerPlan(options);
    case 'cloudrun':
      return cloudRunPlan(options);
    case 'runpod':
      return runpodPlan(options);
    case 'modal':
      return modalPlan(options);
    case 'aws':
      return awsPlan(options);
    case 'cloudflare':
      return cloudflarePlan(options);
    default:
      return options.platform satisfies never;
  }
}
