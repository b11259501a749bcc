import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cloudRunPlan } from './cloudrun.ts';
import type { DeployOptions } from './options.ts';
import { CUDA_NOTE, infraPath, infraText, packageRoot, queueOf, words } from './shared.ts';
import type { Plan } from './steps.ts';
import { UsageError } from '../read-options.ts';

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

function dockerPlan(options: DeployOptions): Plan {
  const root = packageRoot();
  if (!existsSync(join(root, 'tsconfig.json'))) {
    throw new UsageError('Images are built from a checkout of the repository: run it there.');
  }
  const image = options.need('image');
  const hasGpu = options.gpu !== 'none';
  const file = infraPath(hasGpu ? 'docker/Dockerfile.cuda' : 'docker/Dockerfile');
  return {
    notes: hasGpu ? [CUDA_NOTE] : [],
    steps: [
      {
        kind: 'run',
        command: 'docker',
        args: words('build --platform linux/amd64 --file', [file, '--tag', image, root]),
        env: { DOCKER_BUILDKIT: '1' },
      },
      ...(options.pushes
        ? [{ kind: 'run', command: 'docker', args: ['push', image] } as const]
        : []),
    ],
  };
}

function runpodPlan(options: DeployOptions): Plan {
  const { name, gpu, slots, max, isFleet } = options;
  const model = options.need('model');
  const kvStore = options.get('kv-store');
  const endpoint = options.get('s3-endpoint');
  const region = options.get('region');
  const usesS3 = [model, kvStore].some((where) => where?.startsWith('s3://'));
  const {
    gpu: pools,
    env,
    ...body
  } = JSON.parse(infraText('runpod/endpoint.json')) as {
    readonly gpu: object;
    readonly env: object;
  };
  const request = {
    ...body,
    name,
    image: options.need('image'),
    env: {
      ...env,
      GEMLET_MODEL: model,
      GEMLET_SLOTS: String(slots),
      GEMLET_QUEUE: String(queueOf(slots)),
      ...(kvStore === null ? {} : { GEMLET_KV_STORE: kvStore }),
      ...(isFleet ? { GEMLET_FLEET_KEY: '{{ RUNPOD_SECRET_gemlet_fleet_key }}' } : {}),
      ...(usesS3
        ? {
            AWS_REGION: 'auto',
            AWS_ACCESS_KEY_ID: '{{ RUNPOD_SECRET_gemlet_s3_key_id }}',
            AWS_SECRET_ACCESS_KEY: '{{ RUNPOD_SECRET_gemlet_s3_key }}',
          }
        : {}),
      ...(endpoint === null ? {} : { AWS_ENDPOINT_URL_S3: endpoint }),
    },
    // Without a GPU: the CPU flavor with 4 GB for each of its cores.
    ...(gpu === 'none'
      ? { cpu: [{ id: 'cpu5g', vcpuCount: 8 }] }
      : { gpu: { ...pools, pools: [gpu] } }),
    scaling: { type: 'REQUEST_COUNT', requestCount: slots },
    workers: { min: 0, max, idleTimeout: 30 },
    ...(region === null ? {} : { dataCenterIds: [region] }),
  };
  const file = `gemlet-deploy/${name}-runpod.json`;
  return {
    notes: [
      ...(usesS3 ? ['Needs the RunPod secrets gemlet_s3_key_id and gemlet_s3_key'] : []),
      ...(isFleet
        ? [
            'Needs the RunPod secret gemlet_fleet_key',
            'The gateway: gemlet gateway --affinity runpod --replica https://<id>.api.runpod.ai --replica-header "authorization: Bearer <key>"',
          ]
        : []),
      ...(gpu === 'none' ? [] : [CUDA_NOTE]),
    ],
    steps: [
      { kind: 'file', path: file, text: `${JSON.stringify(request, null, 2)}\n` },
      {
        kind: 'run',
        command: 'curl',
        args: words(
          '--fail-with-body --silent --show-error --header @-',
          ['--header', 'content-type: application/json'],
          ['--data-binary', `@${file}`, 'https://api.runpod.io/v2/serverless'],
        ),
        // On standard input, so that no list of processes shows it.
        input: 'authorization: Bearer $RUNPOD_API_KEY',
      },
    ],
  };
}

function modalPlan(options: DeployOptions): Plan {
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
  };
}

const LAMBDA_INDEX = "export { handler } from 'gemlet/adapters/cli/lambda-main';\n";

function awsPlan(options: DeployOptions): Plan {
  const { name } = options;
  const region = ['--region', options.need('region')];
  const replicas = needReplicas(options);
  const folder = `gemlet-deploy/${name}-aws`;
  const template = `${folder}/template.yaml`;
  const packaged = `${folder}/packaged.yaml`;
  // The package without the engine's optional parts is a few megabytes.
  const install = words(
    'install --install-links --omit=optional --ignore-scripts --no-audit --no-fund',
    ['--prefix', `${folder}/code`, packageRoot()],
  );
  const bucket = ['--s3-bucket', options.need('bucket')];
  return {
    notes: ['Needs the Secrets Manager secrets gemlet/fleet-key and gemlet/api-key'],
    steps: [
      { kind: 'file', path: template, text: infraText('aws/template.yaml') },
      { kind: 'file', path: `${folder}/code/index.mjs`, text: LAMBDA_INDEX },
      { kind: 'run', command: 'npm', args: install },
      {
        kind: 'run',
        command: 'aws',
        args: words('cloudformation package --template-file', [
          template,
          '--output-template-file',
          packaged,
          ...bucket,
          ...region,
        ]),
      },
      {
        kind: 'run',
        command: 'aws',
        args: words(
          'cloudformation deploy --capabilities CAPABILITY_IAM --template-file',
          [packaged, '--stack-name', name, '--parameter-overrides', `Replicas=${replicas}`],
          region,
        ),
      },
    ],
  };
}

function cloudflarePlan(options: DeployOptions): Plan {
  const { name } = options;
  const config = join(packageRoot(), 'wrangler.toml');
  if (!existsSync(config)) {
    throw new UsageError('There is no wrangler.toml: run it in a checkout of the repository.');
  }
  const place = ['--config', config, '--name', name];
  const wrangler = ['--yes', 'wrangler@4'];
  const secret = (binding: string, variable: string) =>
    ({
      kind: 'run',
      command: 'npx',
      args: [...wrangler, 'secret', 'put', binding, ...place],
      input: `$${variable}`,
    }) as const;
  const replicas = `REPLICAS:${needReplicas(options)}`;
  return {
    notes: [
      `The bucket, the model and the rest stand in ${config}`,
      'Secrets are read from GEMLET_FLEET_KEY and GEMLET_API_KEY in the environment',
    ],
    steps: [
      { kind: 'run', command: 'npx', args: [...wrangler, 'deploy', ...place, '--var', replicas] },
      secret('FLEET_KEYS', 'GEMLET_FLEET_KEY'),
      secret('API_KEYS', 'GEMLET_API_KEY'),
    ],
  };
}

function needReplicas({ platform, replicas }: DeployOptions): string {
  if (replicas.length > 0) return replicas.join(',');
  throw new UsageError(`gemlet deploy ${platform} needs --replica: the URL of a replica.`);
}
