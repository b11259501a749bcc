import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it, vi } from 'vitest';
import { type CollectionTag, parse as parseYaml, type ScalarTag } from 'yaml';
import { z } from 'zod';
import { parseGatewayOptions } from '../../adapters/cli/gateway-options.ts';
import { startFakeLambda } from '../support/fake-lambda.ts';
import { deployPlan, infraFile, probe, ROOT, serveWith, writtenText } from '../support/infra.ts';

const run = promisify(execFile);

/** What RunPod's API takes for a load-balancing endpoint, as far as we send it. */
const runpodBody = z
  .strictObject({
    name: z.string().min(1),
    type: z.literal('LOAD_BALANCER'),
    image: z.string(),
    disk: z.int().min(1),
    ports: z.array(z.string().regex(/^\d+\/(http|tcp)$/)),
    env: z.record(z.string(), z.string()),
    gpu: z
      .strictObject({
        pools: z.array(z.string()).min(1),
        count: z.int().min(1),
        minCudaVersion: z.string().regex(/^\d+\.\d+$/),
      })
      .optional(),
    cpu: z.array(z.strictObject({ id: z.string(), vcpuCount: z.int().min(2) })).optional(),
    // Load balancers scale by requests, and by nothing else.
    scaling: z.strictObject({ type: z.literal('REQUEST_COUNT'), requestCount: z.int().min(1) }),
    workers: z.strictObject({
      min: z.int().min(0),
      max: z.int().min(0),
      idleTimeout: z.int().min(1).max(3600),
    }),
    flashboot: z.enum(['OFF', 'FLASHBOOT', 'PRIORITY_FLASHBOOT']),
    timeout: z.int(),
    dataCenterIds: z.array(z.string()).optional(),
  })
  .refine(({ gpu, cpu }) => (gpu === undefined) !== (cpu === undefined), 'gpu or cpu');

const RUNPOD =
  'runpod --image r.example/gemlet:1 --model s3://bucket/gemma --s3-region eu-central-1';

/** The environment of the workers. */
function runpodEnv(line: string): Readonly<Record<string, string>> {
  return runpodBody.parse(JSON.parse(writtenText(deployPlan(line)))).env;
}

describe('infra/runpod/endpoint.json', () => {
  it.each([
    ['as it is', infraFile('runpod/endpoint.json')],
    ['without a GPU', writtenText(deployPlan(RUNPOD))],
    ['with one', writtenText(deployPlan(`${RUNPOD} --gpu ADA_24 --fleet --region EU-RO-1`))],
  ])('is what RunPod takes, %s', async (_, text) => {
    const { env, ports, workers, scaling } = runpodBody.parse(JSON.parse(text));
    // The image listens to other machines.
    const settings = serveWith({ GEMLET_HOST: '0.0.0.0', ...env });
    const { pingPath, port, engine, drainMs, isOpen, allowedHosts } = settings;
    // Behind a gateway clients have no business here; else RunPod asks for its key.
    const isFleet = env['GEMLET_FLEET_KEY'] !== undefined;
    expect([isOpen, allowedHosts]).toEqual(isFleet ? [false, []] : [true, ['*']]);
    expect(port).toBe(Number(env['PORT_HEALTH']));
    expect(ports).toEqual([`${port}/http`]);
    expect(pingPath).toBe(env['HEALTH_CHECK_PATH']);
    expect(scaling.requestCount).toBe(engine.slots);
    expect(workers.min).toBe(0);
    expect(drainMs).toBeLessThan(10_000);
    // RunPod's own key comes where ours would be looked for.
    expect(env).not.toHaveProperty('GEMLET_API_KEY');
    const ping = env['HEALTH_CHECK_PATH'] ?? '';
    expect(await probe(ping, 'loading', ping)).toBe(204);
    expect(await probe(ping, 'ready', ping)).toBe(200);
    expect(await probe(ping, 'draining', ping)).toBe(503);
  });

  it('names secrets and holds none', () => {
    const { env } = runpodBody.parse(JSON.parse(writtenText(deployPlan(`${RUNPOD} --fleet`))));
    const names = ['GEMLET_FLEET_KEY', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'];
    for (const name of names) expect(env[name]).toMatch(/^\{\{ RUNPOD_SECRET_\w+ \}\}$/);
  });

  it('looks for a bucket of AWS where it lies, and elsewhere where the endpoint is', () => {
    expect(runpodEnv(RUNPOD)).toMatchObject({ AWS_REGION: 'eu-central-1' });
    expect(runpodEnv(RUNPOD)).not.toHaveProperty('AWS_ENDPOINT_URL_S3');
    const elsewhere = RUNPOD.replace(
      '--s3-region eu-central-1',
      '--s3-endpoint https://s3.example',
    );
    expect(runpodEnv(elsewhere)).toMatchObject({ AWS_REGION: 'auto' });
    expect(runpodEnv(`${elsewhere} --s3-region weur`)).toMatchObject({ AWS_REGION: 'weur' });
    expect(runpodEnv(elsewhere.replace('s3://bucket', 'hf:org'))).not.toHaveProperty(
      'AWS_ACCESS_KEY_ID',
    );
  });

  it('asks for drivers that run the CUDA of our image', () => {
    const { gpu } = runpodBody.parse(JSON.parse(infraFile('runpod/endpoint.json')));
    expect(infraFile('docker/Dockerfile.cuda')).toContain(
      `FROM nvidia/cuda:${gpu?.minCudaVersion}.`,
    );
  });
});

const hasPython = spawnSync('python3', ['--version']).status === 0;
if (!hasPython) console.warn('infra/modal/app.py is not compiled: there is no python3');

describe('infra/modal/app.py', () => {
  const text = infraFile('modal/app.py');

  it.skipIf(!hasPython)('is Python', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'gemlet-modal-'));
    try {
      const env = { ...process.env, PYTHONPYCACHEPREFIX: folder };
      await run('python3', ['-m', 'py_compile', join(ROOT, 'infra/modal/app.py')], { env });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it.skipIf(!hasPython)('gives our server what was asked for, and waits for it', async () => {
    const env = {
      PATH: process.env['PATH'],
      GEMLET_IMAGE: 'r.example/gemlet:1',
      GEMLET_MODEL: 's3://bucket/gemma',
      GEMLET_SLOTS: '6',
      GEMLET_GPU: 'L4',
    };
    const { stdout } = await run('python3', ['-c', MODAL_STUB], { cwd: ROOT, env });
    const { server, image } = JSON.parse(stdout) as {
      readonly server: Readonly<Record<string, unknown>> & { readonly env: Record<string, string> };
      readonly image: readonly unknown[];
    };
    expect(image).toEqual(['r.example/gemlet:1']);
    expect(server).toMatchObject({ gpu: 'L4', target_concurrency: 6, min_containers: 0 });
    const own = ['APP', 'IMAGE', 'GPU', 'MAX', 'REGION', 'SECRET'].map((name) => `GEMLET_${name}`);
    const forServer = Object.entries(server.env).filter(([name]) => !own.includes(name));
    const { host, port, engine, drainMs } = serveWith({
      ...Object.fromEntries(forServer),
      GEMLET_API_KEY: 'from-the-secret-of-modal',
    });
    expect([host, port]).toEqual(['0.0.0.0', server['port']]);
    expect(engine).toMatchObject({ model: 's3://bucket/gemma', slots: 6 });
    expect(Number(server['exit_grace_period']) * 1000).toBeGreaterThan(drainMs);
  });

  it('waits on a path that says when the model is loaded, and drains by SIGTERM', async () => {
    const [, path = ''] = /127\.0\.0\.1:\{PORT\}(\/[\w/]+)/.exec(text) ?? [];
    expect(await probe(path, 'loading')).toBe(503);
    expect(await probe(path, 'ready')).toBe(200);
    expect(text).toContain('self.process.terminate()');
    expect(text).toContain('CUDA is not measured');
  });

  it('reads every variable that the command sets', () => {
    const line = 'modal --image r.example/g:1 --model hf:org/g --region us-west --secret s';
    const [step] = deployPlan(`${line} --kv-store s3://bucket/kv`).steps;
    const names = Object.keys((step?.kind === 'run' ? step.env : null) ?? {});
    expect(names.length).toBeGreaterThan(8);
    for (const name of names) expect(text).toContain(`setting("${name}"`);
  });
});

/** Modal's names, as far as app.py uses them, that print what they are given. */
const MODAL_STUB = `
import json, runpy, sys, types
seen = {}
modal = types.ModuleType("modal")
class Image:
    @staticmethod
    def from_registry(*args, setup_dockerfile_commands, add_python):
        seen["image"] = args
        return Image()
    def entrypoint(self, words):
        return self
class App:
    def __init__(self, name):
        pass
    def server(self, *, image, secrets, **options):
        seen["server"] = options
        return lambda kind: kind
modal.Image, modal.App = Image, App
modal.Secret = types.SimpleNamespace(from_name=lambda name: name)
modal.enter = modal.exit = lambda: lambda method: method
modal.is_local = lambda: True
sys.modules["modal"] = modal
runpy.run_path("infra/modal/app.py")
print(json.dumps(seen))
`;

/** CloudFormation's short forms, as what they stand for. */
const TAGS: (ScalarTag | CollectionTag)[] = [
  ...['Sub', 'Ref', 'GetAtt'].map((name) => ({
    tag: `!${name}`,
    resolve: (value: string) => ({ [name]: value }),
  })),
  // Lists, as they are.
  ...['If', 'Not', 'Equals'].map((name) => ({ tag: `!${name}`, collection: 'seq' as const })),
];

interface Resource {
  readonly Type: string;
  readonly Properties: Readonly<Record<string, unknown>>;
}

describe('infra/aws/template.yaml', () => {
  const { Resources, Parameters } = parseYaml(infraFile('aws/template.yaml'), {
    customTags: TAGS,
  }) as {
    readonly Resources: Readonly<Record<string, Resource>>;
    readonly Parameters: Readonly<Record<string, { readonly Default?: string }>>;
  };
  const of = (type: string): Resource[] =>
    Object.values(Resources).filter(({ Type }) => Type === `AWS::Lambda::${type}`);

  it('streams from a public URL, which takes two permissions', () => {
    expect(of('Url')[0]?.Properties).toMatchObject({
      InvokeMode: 'RESPONSE_STREAM',
      AuthType: 'NONE',
    });
    expect(of('Permission').map(({ Properties }) => Properties['Action'])).toEqual([
      'lambda:InvokeFunctionUrl',
      'lambda:InvokeFunction',
    ]);
    expect(of('Permission')[1]?.Properties['InvokedViaFunctionUrl']).toBe(true);
  });

  it('asks for a key, since nothing before it does, and holds none', () => {
    const environment = of('Function')[0]?.Properties['Environment'] as {
      readonly Variables: Readonly<Record<string, object>>;
    };
    const entries = Object.entries(environment.Variables);
    const plain = entries.filter(([, value]) => 'Ref' in value).map(([name]) => name);
    const keys = entries.filter(([name]) => !plain.includes(name));
    expect(keys.map(([name]) => name)).toEqual([
      'GEMLET_FLEET_KEY',
      'GEMLET_REPLICA_HEADER',
      'GEMLET_UPSTREAM_KEY',
      'GEMLET_API_KEY',
    ]);
    for (const [, key] of keys) {
      const [, parameter = ''] =
        /\{\{resolve:secretsmanager:\$\{(\w+)\}\}\}/.exec(JSON.stringify(key)) ?? [];
      expect(Parameters[parameter]?.Default).toMatch(/^(gemlet\/.*)?$/);
    }
    // The gateway reads all of them, as a fleet's and as an upstream's.
    const empty = Object.fromEntries(entries.map(([name]) => [name, '']));
    const fleet = parseGatewayOptions([], {
      ...empty,
      GEMLET_API_KEY: 'a-key-that-clients-send',
      GEMLET_REPLICA: 'https://a.example',
      GEMLET_AFFINITY: 'runpod',
      GEMLET_REPLICA_HEADER: 'authorization: Bearer of RunPod',
      GEMLET_FLEET_KEY: 'a-key-of-a-fleet-of-two',
      GEMLET_BUNDLE: 's3://bucket/gemma',
      GEMLET_NAME: 'gemma',
      GEMLET_CONTEXT: '4096',
    });
    expect(fleet.target).toMatchObject({
      type: 'fleet',
      gateway: {
        pollMs: null,
        bundle: { where: 's3://bucket/gemma', id: 'gemma', contextTokens: 4096 },
      },
    });
    const upstream = parseGatewayOptions([], {
      ...empty,
      GEMLET_API_KEY: 'a-key-that-clients-send',
      GEMLET_UPSTREAM: 'https://u.example',
      GEMLET_UPSTREAM_KIND: 'vllm',
      GEMLET_UPSTREAM_MODEL: 'org/gemma',
      GEMLET_UPSTREAM_KEY: 'key',
    });
    expect(upstream.target).toMatchObject({
      type: 'upstream',
      upstream: { baseUrl: 'https://u.example', apiKey: 'key', kind: 'vllm', model: 'org/gemma' },
    });
  });

  it('gets from the command all that has no default, and the code where it looks for it', () => {
    const line = 'aws --region eu-central-1 --bucket b --replica https://r.example';
    const { steps } = deployPlan(line);
    const [template, index, install, pack, deploy, describeStacks] = steps;
    const folder = (template?.kind === 'file' ? template.path : '').replace('template.yaml', '');
    const code = String(of('Function')[0]?.Properties['Code']);
    expect(index).toMatchObject({ kind: 'file', path: `${folder}${code}/index.mjs` });
    expect(install).toMatchObject({
      args: expect.arrayContaining(['--prefix', `${folder}${code}`]) as string[],
    });
    expect(of('Function')[0]?.Properties['Handler']).toBe('index.handler');
    expect(pack).toMatchObject({ command: 'aws' });
    const words = deploy?.kind === 'run' ? deploy.args.slice(0, -2) : [];
    const set = words.flatMap((word) => /^([A-Z]\w+)=/.exec(word)?.[1] ?? []);
    // How long logs are kept is left to the template.
    const known = Object.keys(Parameters).filter((name) => name !== 'LogDays');
    expect(set.toSorted()).toEqual(known.toSorted());
    expect(describeStacks).toMatchObject({
      args: expect.arrayContaining(['describe-stacks']) as string[],
    });
    expect(deploy).toMatchObject({
      args: expect.arrayContaining(['Replicas=https://r.example']) as string[],
    });
  });

  it('brings the S3 client where the bundle lies in S3, and may read that bundle alone', () => {
    const line = 'aws --region eu-central-1 --bucket b --replica https://r.example';
    const argsOf = (more: string) =>
      deployPlan(`${line} ${more}`).steps.flatMap((step) => (step.kind === 'run' ? step.args : []));
    const inS3 = argsOf('--bundle s3://models/gemma');
    expect(inS3.join(' ')).toMatch(/ @aws-sdk\/client-s3@\d+\.\d+\.\d+ /);
    expect(inS3).toContain('BundleObjects=models/gemma');
    const elsewhere = argsOf('--bundle https://models.example/gemma');
    expect(elsewhere.join(' ')).not.toContain('client-s3');
    expect(elsewhere).toContain('BundleObjects=');
    const { ReadBundle } = Resources;
    expect(JSON.stringify(ReadBundle?.Properties['PolicyDocument'])).toContain(
      's3:::${BundleObjects}/*',
    );
  });

  it('has an entry that answers, with what the environment says', async () => {
    vi.stubEnv('GEMLET_REPLICA', 'http://127.0.0.1:9');
    vi.stubEnv('GEMLET_FLEET_KEY', 'a-key-of-a-fleet-of-one');
    vi.stubEnv('GEMLET_API_KEY', 'a-key-of-the-clients');
    const lambda = await startFakeLambda(async () => {
      const { handler } = await import('../../adapters/cli/lambda-main.ts');
      return handler;
    });
    try {
      expect((await lambda.send('/health/live')).status).toBe(200);
      expect((await lambda.send('/v1/models')).status).toBe(401);
    } finally {
      vi.unstubAllEnvs();
      await lambda.close();
    }
  });
});
