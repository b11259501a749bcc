import { UsageError } from '../read-options.ts';
import type { DeployOptions } from './options.ts';
import { CUDA_NOTE, infraPath, infraText, queueOf } from './shared.ts';
import type { Plan } from './steps.ts';

/** @throws UsageError */
export function runpodPlan(options: DeployOptions): Plan {
  const { name, gpu, slots, max, isFleet } = options;
  const model = options.need('model');
  const kvStore = options.get('kv-store');
  const endpoint = options.get('s3-endpoint');
  const region = options.get('region');
  const storeRegion = options.get('s3-region');
  const usesS3 = [model, kvStore].some((where) => where?.startsWith('s3://'));
  const {
    gpu: pools,
    env: { GEMLET_ALLOW_ANYONE, GEMLET_ALLOW_HOST, ...env },
    ...body
  } = JSON.parse(infraText('runpod/endpoint.json')) as {
    readonly gpu: object;
    readonly env: Readonly<Record<string, string>>;
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
      // RunPod asks callers for its own key; behind a gateway nobody else is let in.
      ...(isFleet
        ? { GEMLET_FLEET_KEY: '{{ RUNPOD_SECRET_gemlet_fleet_key }}' }
        : { GEMLET_ALLOW_ANYONE, GEMLET_ALLOW_HOST }),
      ...(usesS3
        ? {
            AWS_ACCESS_KEY_ID: '{{ RUNPOD_SECRET_gemlet_s3_key_id }}',
            AWS_SECRET_ACCESS_KEY: '{{ RUNPOD_SECRET_gemlet_s3_key }}',
          }
        : {}),
      // Without an endpoint the store is AWS's, whose buckets lie in regions with names.
      ...(storeRegion === null ? {} : { AWS_REGION: storeRegion }),
      ...(endpoint === null
        ? {}
        : { AWS_ENDPOINT_URL_S3: endpoint, AWS_REGION: storeRegion ?? 'auto' }),
    },
    // Without a GPU: the CPU flavor with 4 GB for each of its cores.
    ...(gpu === 'none'
      ? { cpu: [{ id: 'cpu5g', vcpuCount: 8 }] }
      : { gpu: { ...pools, pools: [gpu] } }),
    scaling: { type: 'REQUEST_COUNT', requestCount: slots },
    workers: { min: 0, max, idleTimeout: 30 },
    ...(region === null ? {} : { dataCenterIds: [region] }),
  };
  if (usesS3 && endpoint === null && storeRegion === null) {
    throw new UsageError(
      'A bucket of AWS needs --s3-region: where it lies, such as eu-central-1. Another store needs --s3-endpoint.',
    );
  }
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
        command: 'node',
        args: [infraPath('runpod/apply.mjs'), file],
        // On standard input, so that no list of processes shows it.
        input: '$RUNPOD_API_KEY',
      },
    ],
    ending: ['The URL above is its address'],
  };
}
