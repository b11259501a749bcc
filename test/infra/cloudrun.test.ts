import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { describe, expect, it } from 'vitest';
import { parseHcl } from '../support/hcl.ts';
import {
  commandsOf,
  deployPlan,
  infraFile,
  probe,
  serveWith,
  writtenText,
} from '../support/infra.ts';

/** Cloud Run's own minima beside each GPU. */
const MINIMA = {
  'nvidia-l4': { cpu: 4, memory: 16 },
  'nvidia-rtx-pro-6000': { cpu: 20, memory: 80 },
} as const;
/** Cloud Run kills this long after SIGTERM. */
const KILL_MS = 10_000;
/** Longest that every version of Cloud Run waits for a start. */
const START_SECONDS = 240;

const BASE =
  'cloudrun --project my-project --region europe-west4 --image r.example/gemlet:1 --model s3://bucket/gemma';

const httpProbe = z.strictObject({
  httpGet: z.strictObject({ path: z.string(), port: z.literal(8787) }),
  periodSeconds: z.int(),
  timeoutSeconds: z.int(),
  failureThreshold: z.int(),
});
const secret = z.strictObject({
  secretKeyRef: z.strictObject({ name: z.string(), key: z.literal('latest') }),
});
const container = z.strictObject({
  image: z.string(),
  args: z.tuple([z.literal('serve')]),
  ports: z.tuple([z.strictObject({ name: z.literal('http1'), containerPort: z.literal(8787) })]),
  env: z.array(
    z.union([
      z.strictObject({ name: z.string(), value: z.string() }),
      z.strictObject({ name: z.string(), valueFrom: secret }),
    ]),
  ),
  resources: z.strictObject({
    limits: z.strictObject({
      cpu: z.string(),
      memory: z.string(),
      'nvidia.com/gpu': z.literal('1').optional(),
    }),
  }),
  startupProbe: httpProbe,
  livenessProbe: httpProbe,
});
const service = z.strictObject({
  apiVersion: z.literal('serving.knative.dev/v1'),
  kind: z.literal('Service'),
  metadata: z.strictObject({ name: z.string(), annotations: z.record(z.string(), z.string()) }),
  spec: z.strictObject({
    template: z.strictObject({
      metadata: z.strictObject({ annotations: z.record(z.string(), z.string()) }),
      spec: z.strictObject({
        containerConcurrency: z.int(),
        timeoutSeconds: z.int().max(3600),
        nodeSelector: z
          .strictObject({ 'run.googleapis.com/accelerator': z.enum(Object.keys(MINIMA)) })
          .optional(),
        containers: z.tuple([container]),
      }),
    }),
  }),
});

function serviceOf(line: string) {
  const { metadata, spec } = service.parse(parseYaml(writtenText(deployPlan(line)))).spec.template;
  const [only] = spec.containers;
  const plain = only.env.flatMap((entry) => ('value' in entry ? [[entry.name, entry.value]] : []));
  const secrets = only.env.flatMap((entry) => ('valueFrom' in entry ? [entry.name] : []));
  return {
    annotations: metadata.annotations,
    spec,
    container: only,
    environment: Object.fromEntries(plain) as Record<string, string>,
    secrets,
  };
}

describe('infra/cloudrun/service.yaml', () => {
  it.each([
    BASE,
    `${BASE} --gpu l4`,
    `${BASE} --gpu l4 --cpu 4 --memory 16Gi --slots 8`,
    `${BASE} --gpu rtx-pro-6000 --fleet --kv-store s3://bucket/kv`,
    `${BASE} --slots 1 --max 9 --name other`,
  ])('keeps the rules of Cloud Run: %s', (line) => {
    const { annotations, spec, container: only, environment, secrets } = serviceOf(line);
    expect(annotations['run.googleapis.com/sessionAffinity']).toBe('true');
    expect(annotations['autoscaling.knative.dev/minScale']).toBe('0');
    expect(annotations['run.googleapis.com/cpu-throttling']).toBe('false');
    expect([...secrets].filter((name) => name === 'GEMLET_API_KEY')).toHaveLength(1);
    // The listening address is the image's.
    const { engine, drainMs } = serveWith(environment);
    expect(drainMs).toBeLessThan(KILL_MS);
    const slots = engine.slots ?? 0;
    expect(spec.containerConcurrency).toBeGreaterThan(slots);
    // None that Cloud Run lets in is refused by the queue.
    expect(spec.containerConcurrency).toBeLessThanOrEqual(slots + (engine.maxWaiting ?? 0));

    const { limits } = only.resources;
    const accelerator = spec.nodeSelector?.['run.googleapis.com/accelerator'];
    expect(limits['nvidia.com/gpu']).toBe(accelerator === undefined ? undefined : '1');
    const minima = accelerator === undefined ? null : MINIMA[accelerator as keyof typeof MINIMA];
    expect(Number(limits.cpu)).toBeGreaterThanOrEqual(minima?.cpu ?? 1);
    expect(limits.memory).toMatch(/^\d+Gi$/);
    expect(Number.parseInt(limits.memory, 10)).toBeGreaterThanOrEqual(minima?.memory ?? 1);
    const { periodSeconds, failureThreshold } = only.startupProbe;
    expect(periodSeconds * failureThreshold).toBeLessThanOrEqual(START_SECONDS);
  });

  it('takes what was asked for', () => {
    const { spec, environment, secrets } = serviceOf(
      `${BASE} --gpu l4 --slots 8 --fleet --kv-store s3://bucket/kv`,
    );
    expect(spec.nodeSelector).toEqual({ 'run.googleapis.com/accelerator': 'nvidia-l4' });
    expect(environment).toMatchObject({
      GEMLET_MODEL: 's3://bucket/gemma',
      GEMLET_SLOTS: '8',
      GEMLET_KV_STORE: 's3://bucket/kv',
      AWS_ENDPOINT_URL_S3: 'https://storage.googleapis.com',
    });
    expect(secrets).toEqual([
      'GEMLET_API_KEY',
      'GEMLET_FLEET_KEY',
      'AWS_ACCESS_KEY_ID',
      'AWS_SECRET_ACCESS_KEY',
    ]);
  });

  it('asks for no keys of a store that needs none', () => {
    const { environment, secrets } = serviceOf(BASE.replace('s3://bucket/gemma', 'hf:org/gemma'));
    expect(secrets).toEqual(['GEMLET_API_KEY']);
    expect(Object.keys(environment).filter((name) => name.startsWith('AWS_'))).toEqual([]);
  });

  it('has probes that pass without a key when and only when they should', async () => {
    const { startupProbe, livenessProbe } = serviceOf(BASE).container;
    expect(await probe(startupProbe.httpGet.path, 'loading')).toBe(503);
    expect(await probe(startupProbe.httpGet.path, 'ready')).toBe(200);
    expect(await probe(livenessProbe.httpGet.path, 'loading')).toBe(200);
    expect(await probe(livenessProbe.httpGet.path, 'draining')).toBe(200);
    expect(await probe(livenessProbe.httpGet.path, 'closed')).toBe(503);
  });

  it.each([
    [`${BASE} --gpu l4 --cpu 2`, '--cpu 4 --memory 16Gi'],
    [`${BASE} --gpu l4 --memory 8Gi`, '--cpu 4 --memory 16Gi'],
    [`${BASE} --gpu rtx-pro-6000 --cpu 8`, '--cpu 20 --memory 80Gi'],
  ])('refuses too small a machine: %s', (line, text) => {
    expect(() => deployPlan(line)).toThrow(text);
  });
});

/** The first block of a kind and name, or of a kind. */
type Block = Readonly<Record<string, unknown>>;
function blockAt(block: unknown, ...path: readonly string[]): unknown {
  let at = block;
  for (const name of path) {
    at = Array.isArray(at) ? at[0] : at;
    at = (at as Block)[name];
  }
  return Array.isArray(at) && at.length === 1 ? at[0] : at;
}

describe('infra/cloudrun/main.tf', async () => {
  const hcl = await parseHcl('main.tf', infraFile('cloudrun/main.tf'));
  const template = blockAt(hcl, 'resource', 'google_cloud_run_v2_service', 'gemlet', 'template');

  it('keeps the rules of Cloud Run', () => {
    expect(blockAt(template, 'session_affinity')).toBe(true);
    expect(blockAt(template, 'scaling', 'min_instance_count')).toBe(0);
    expect(blockAt(template, 'max_instance_request_concurrency')).toBe(
      '${var.slots + local.queue}',
    );
    expect(blockAt(hcl, 'locals', 'queue')).toBe('${var.slots * 3}');
    expect(blockAt(template, 'containers', 'resources', 'cpu_idle')).toBe(false);
    const shapes = blockAt(hcl, 'locals', 'shapes') as Record<string, Record<string, string>>;
    const gpus = Object.values(shapes).filter(({ accelerator }) => accelerator !== '');
    expect(gpus.map(({ accelerator }) => accelerator)).toEqual(Object.keys(MINIMA));
    for (const { accelerator, cpu, memory } of gpus) {
      const minima = MINIMA[accelerator as keyof typeof MINIMA];
      expect(Number(cpu)).toBeGreaterThanOrEqual(minima.cpu);
      expect(Number.parseInt(memory ?? '', 10)).toBeGreaterThanOrEqual(minima.memory);
    }
  });

  it('describes the same container as service.yaml', () => {
    const { container: yaml } = serviceOf(`${BASE} --gpu l4 --fleet --kv-store s3://bucket/kv`);
    const text = infraFile('cloudrun/main.tf');
    for (const { name } of yaml.env) expect(text).toContain(`${name} `);
    for (const kind of ['startup', 'liveness'] as const) {
      const { httpGet, ...times } = yaml[`${kind}Probe`];
      const block = blockAt(template, 'containers', `${kind}_probe`);
      expect(blockAt(block, 'http_get')).toEqual(httpGet);
      expect(block).toMatchObject({
        period_seconds: times.periodSeconds,
        timeout_seconds: times.timeoutSeconds,
        failure_threshold: times.failureThreshold,
      });
    }
  });

  it('has every variable that the command sets, and asks for no other', () => {
    const line = `${BASE} --tool terraform --kv-store s3://bucket/kv --s3-endpoint https://s3.example`;
    const apply = commandsOf(deployPlan(line)).find(({ args }) => args.includes('apply'));
    const set = (apply?.args ?? []).flatMap((argument) => {
      const [, name] = /^-var=(\w+)=/.exec(argument) ?? [];
      return name === undefined ? [] : [name];
    });
    const variables = blockAt(hcl, 'variable') as Record<string, unknown>;
    expect(set.toSorted()).toEqual(Object.keys(variables).toSorted());
  });
});
