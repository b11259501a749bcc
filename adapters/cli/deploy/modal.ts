import type { DeployOptions } from './options.ts';
import { CUDA_NOTE, infraPath } from './shared.ts';
import type { Plan } from './steps.ts';

/** @throws UsageError */
export function modalPlan(options: DeployOptions): Plan {
  const settings: Readonly<Record<string, string | null>> = {
    GEMLET_APP: options.name,
    GEMLET_IMAGE: options.need('image'),
    GEMLET_MODEL: options.need('model'),
    GEMLET_SLOTS: String(options.slots),
    GEMLET_GPU: options.gpu,
    GEMLET_MAX: String(options.max),
    GEMLET_REGION: options.get('region'),
    GEMLET_SECRET: options.get('secret'),
    GEMLET_KV_STORE: options.get('kv-store'),
  };
  const given = Object.entries(settings).flatMap(([name, value]) =>
    value === null ? [] : [[name, value] as const],
  );
  const keys = options.isFleet ? 'GEMLET_API_KEY, GEMLET_FLEET_KEY' : 'GEMLET_API_KEY';
  return {
    notes: [
      `Needs the Modal secret "${options.get('secret') ?? 'gemlet'}" with ${keys}, and AWS_* for s3://`,
      ...(options.isFleet
        ? [
            'The gateway: gemlet gateway --affinity modal --replica <url> --replica-header "modal-key: <id>" --replica-header "modal-secret: <secret>"',
          ]
        : []),
      ...(options.gpu === 'none' ? [] : [CUDA_NOTE]),
    ],
    steps: [
      {
        kind: 'run',
        command: 'modal',
        args: ['deploy', infraPath('modal/app.py')],
        env: Object.fromEntries(given),
      },
    ],
    ending: [`Modal shows its address above, and at https://modal.com/apps under ${options.name}`],
  };
}
