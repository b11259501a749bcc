import type { DeployOptions } from './options.ts';
import { fill } from './fill.ts';
import { CUDA_NOTE, infraText, queueOf, words } from './shared.ts';
import type { Plan, Step } from './steps.ts';
import { UsageError } from '../read-options.ts';

/** What Cloud Run asks for beside each GPU at least, and what is taken when nothing is said. */
const SHAPES: Readonly<Record<string, Shape>> = {
  none: { accelerator: '', cpu: 8, memory: 32, minCpu: 1, minMemory: 1 },
  l4: { accelerator: 'nvidia-l4', cpu: 8, memory: 32, minCpu: 4, minMemory: 16 },
  'rtx-pro-6000': {
    accelerator: 'nvidia-rtx-pro-6000',
    cpu: 20,
    memory: 80,
    minCpu: 20,
    minMemory: 80,
  },
};

interface Shape {
  readonly accelerator: string;
  readonly cpu: number;
  /** GiB, as the others. */
  readonly memory: number;
  readonly minCpu: number;
  readonly minMemory: number;
}

const ADDRESS_ABOVE = 'The URL above is its address';

/** Google's store speaks S3 to those who have an HMAC key. */
const CLOUD_STORAGE = 'https://storage.googleapis.com';

/** @throws UsageError */
export function cloudRunPlan(options: DeployOptions): Plan {
  const { name, gpu, isFleet, isPublic } = options;
  const project = options.need('project');
  const region = options.need('region');
  const usesS3 = [options.need('model'), options.get('kv-store')].some((where) =>
    where?.startsWith('s3://'),
  );
  const secrets = [
    'gemlet-api-key',
    ...(isFleet ? ['gemlet-fleet-key'] : []),
    ...(usesS3 ? ['gemlet-s3-key-id', 'gemlet-s3-key'] : []),
  ];
  const notes = [
    `Needs these secrets, which the service's account may read: ${secrets.join(', ')}`,
    `Each is made so: printf %s "$VALUE" | gcloud secrets create ${secrets[0]} --data-file=- --project ${project}`,
    ...(isFleet
      ? ['The gateway, which shows no Google identity (--public): gemlet gateway --affinity cookie']
      : []),
    ...(gpu === 'none' ? [] : [CUDA_NOTE]),
  ];
  if (options.get('tool') === 'terraform')
    return { notes, steps: terraformSteps(options), ending: [ADDRESS_ABOVE] };
  const place = ['--project', project, '--region', region];
  const file = `gemlet-deploy/${name}-cloudrun.yaml`;
  const open: Step = {
    kind: 'run',
    command: 'gcloud',
    args: words('run services add-iam-policy-binding --member allUsers --role roles/run.invoker', [
      name,
      ...place,
    ]),
  };
  return {
    notes,
    steps: [
      { kind: 'file', path: file, text: serviceText(options, usesS3) },
      { kind: 'run', command: 'gcloud', args: words('run services replace', [file, ...place]) },
      ...(isPublic ? [open] : []),
      {
        kind: 'run',
        command: 'gcloud',
        args: words('run services describe --format=value(status.url)', [name, ...place]),
      },
    ],
    ending: [ADDRESS_ABOVE],
  };
}

function serviceText(options: DeployOptions, usesS3: boolean): string {
  const { name, gpu, slots, max, isFleet } = options;
  const { accelerator, cpu, memory } = shapeOf(options);
  const kvStore = options.get('kv-store');
  const values = {
    NAME: name,
    MAX: String(max),
    IMAGE: options.need('image'),
    MODEL: options.need('model'),
    SLOTS: String(slots),
    QUEUE: String(queueOf(slots)),
    CONCURRENCY: String(slots + queueOf(slots)),
    ACCELERATOR: accelerator,
    CPU: String(cpu),
    MEMORY: `${memory}Gi`,
    KV_STORE: kvStore ?? '',
    S3_ENDPOINT: options.get('s3-endpoint') ?? CLOUD_STORAGE,
  };
  const hasGpu = gpu !== 'none';
  const flags = {
    gpu: hasGpu,
    cpu: !hasGpu,
    fleet: isFleet,
    s3: usesS3,
    kv: kvStore !== null,
  };
  return fill(infraText('cloudrun/service.yaml'), values, flags);
}

function shapeOf(options: DeployOptions): { accelerator: string; cpu: number; memory: number } {
  const shape = SHAPES[options.gpu];
  if (shape === undefined) throw new UsageError(`Cloud Run has no GPU "${options.gpu}".`);
  const cpu = Number(options.get('cpu') ?? shape.cpu);
  const memory = Number((options.get('memory') ?? `${shape.memory}Gi`).replace('Gi', ''));
  if (cpu < shape.minCpu || memory < shape.minMemory) {
    throw new UsageError(
      `--gpu ${options.gpu} needs at least --cpu ${shape.minCpu} --memory ${shape.minMemory}Gi on Cloud Run, not ${cpu} and ${memory}Gi.`,
    );
  }
  return { accelerator: shape.accelerator, cpu, memory };
}

function terraformSteps(options: DeployOptions): readonly Step[] {
  for (const option of ['cpu', 'memory'] as const) {
    if (options.get(option) !== null) {
      throw new UsageError(`With --tool terraform --${option} is set in main.tf (locals, shapes).`);
    }
  }
  const folder = `gemlet-deploy/${options.name}-cloudrun`;
  const variables: Readonly<Record<string, string | null>> = {
    project: options.need('project'),
    region: options.need('region'),
    image: options.need('image'),
    model: options.need('model'),
    name: options.name,
    gpu: options.gpu,
    slots: String(options.slots),
    max: String(options.max),
    fleet: String(options.isFleet),
    public: String(options.isPublic),
    kv_store: options.get('kv-store'),
    s3_endpoint: options.get('s3-endpoint'),
  };
  const given = Object.entries(variables).filter(([, value]) => value !== null);
  const flags = given.map(([name, value]) => `-var=${name}=${value}`);
  return [
    { kind: 'file', path: `${folder}/main.tf`, text: infraText('cloudrun/main.tf') },
    { kind: 'run', command: 'terraform', args: [`-chdir=${folder}`, 'init'] },
    { kind: 'run', command: 'terraform', args: [`-chdir=${folder}`, 'apply', ...flags] },
    { kind: 'run', command: 'terraform', args: [`-chdir=${folder}`, 'output', '-raw', 'url'] },
  ];
}
