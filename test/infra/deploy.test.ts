import { execFile } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { deploy } from '../../adapters/cli/deploy/deploy.ts';
import { fill } from '../../adapters/cli/deploy/fill.ts';
import { parseDeployOptions } from '../../adapters/cli/deploy/options.ts';
import { planText, runPlan, type Plan } from '../../adapters/cli/deploy/steps.ts';
import { UsageError } from '../../adapters/cli/read-options.ts';
import { parse as parseToml } from 'smol-toml';
import { commandsOf, deployPlan, ROOT, writtenText } from '../support/infra.ts';

const run = promisify(execFile);

const MODEL = '--image r.example/gemlet:1 --model s3://bucket/gemma';
const RUNPOD = `runpod ${MODEL} --s3-region eu-central-1`;
const GOOGLE = `cloudrun --project my-project --region europe-west4 ${MODEL}`;
const LINES = [
  'docker --image r.example/gemlet:1 --push',
  'docker --image r.example/gemlet-cuda:1 --gpu cuda',
  `${GOOGLE} --gpu l4 --public`,
  `${GOOGLE} --tool terraform --fleet`,
  `${RUNPOD} --gpu ADA_24 --fleet`,
  `modal ${MODEL} --gpu L4`,
  'aws --region eu-central-1 --bucket artifacts --replica https://a.example --replica https://b.example',
  'aws --region eu-central-1 --bucket artifacts --upstream https://a.example --bundle s3://b/gemma',
  'cloudflare --replica https://a.example',
];

/** Vendors' tools that write down what they are given. */
const TOOLS = ['docker', 'gcloud', 'terraform', 'node', 'modal', 'aws', 'npm', 'npx'];
const STUB = `#!${process.execPath}
const { appendFileSync, readFileSync } = require('node:fs');
const tool = require('node:path').basename(__filename);
const args = process.argv.slice(2);
const settings = Object.entries(process.env).filter(([name]) => /^(GEMLET|DOCKER)_(?!.*KEY)/.test(name)).sort();
const input = args[0]?.endsWith('apply.mjs') || args.includes('secret') ? readFileSync(0, 'utf8') : '';
appendFileSync(process.env.STUB_LOG, JSON.stringify([tool, args, settings, input]) + '\\n');
process.exit(Number(process.env.STUB_CODE ?? 0));
`;

let folder: string;
let before: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gemlet-deploy-'));
  mkdirSync(join(folder, 'bin'));
  for (const tool of TOOLS) {
    writeFileSync(join(folder, 'bin', tool), STUB);
    chmodSync(join(folder, 'bin', tool), 0o755);
  }
  before = process.cwd();
  process.chdir(folder);
  // What a real run prints is not for the report of tests.
  vi.spyOn(process.stderr, 'write').mockReturnValue(true);
});
afterEach(() => {
  vi.restoreAllMocks();
  process.chdir(before);
  rmSync(folder, { recursive: true, force: true });
});

const environment = (more: Readonly<Record<string, string>> = {}) => ({
  PATH: `${join(folder, 'bin')}:/usr/bin:/bin`,
  STUB_LOG: join(folder, 'log'),
  RUNPOD_API_KEY: 'a secret of RunPod',
  GEMLET_FLEET_KEY: 'a-key-of-a-fleet-of-two',
  GEMLET_API_KEY: 'secret',
  ...more,
});

/** The texts of files that are not there. */
const NOTHING = [null, null, null, null, null, null];

/** What the tools were given since the last look, and what lies in the folder. */
function done(): unknown {
  const lines = existsSync('log') ? readFileSync('log', 'utf8').trim().split('\n') : [];
  rmSync('log', { force: true });
  const files = ['gemlet-cloudrun.yaml', 'gemlet-cloudrun/main.tf', 'gemlet-runpod.json']
    .concat(
      'gemlet-aws/template.yaml',
      'gemlet-aws/code/index.mjs',
      'gemlet-cloudflare/wrangler.toml',
    )
    .map((path) => join('gemlet-deploy', path));
  const texts = files.map((path) => (existsSync(path) ? readFileSync(path, 'utf8') : null));
  rmSync('gemlet-deploy', { recursive: true, force: true });
  return { calls: lines.map((line) => JSON.parse(line) as unknown), texts };
}

describe('gemlet deploy', () => {
  it.each(LINES)('prints a script that does what it would do: %s', async (line) => {
    await deploy(line.split(' '), environment());
    const ran = done();
    expect((ran as { calls: unknown[] }).calls.length).toBeGreaterThan(0);
    const script = await deploy([...line.split(' '), '--dry-run'], {});
    expect(done()).toEqual({ calls: [], texts: NOTHING });
    await run('/bin/sh', ['-c', script], { env: environment() });
    expect(done()).toEqual(ran);
  });

  it('never prints a secret, and hands it over where no list of processes shows it', async () => {
    const line = `${RUNPOD} --dry-run`;
    const text = await deploy(line.split(' '), environment());
    expect(text).toContain('$RUNPOD_API_KEY');
    expect(text).not.toContain('a secret of RunPod');
    await deploy(line.replace(' --dry-run', '').split(' '), environment());
    const { calls } = done() as { calls: [string, string[], unknown, string][] };
    const [call] = calls;
    expect(call?.[1].join(' ')).not.toContain('a secret');
    expect(call?.[3]).toBe('a secret of RunPod\n');
  });

  it('does nothing when a secret is missing', async () => {
    await expect(deploy(RUNPOD.split(' '), environment({ RUNPOD_API_KEY: '' }))).rejects.toThrow(
      'Set RUNPOD_API_KEY in the environment',
    );
    expect(done()).toEqual({ calls: [], texts: NOTHING });
  });

  it('says which tool is missing and where it comes from', async () => {
    rmSync(join(folder, 'bin', 'modal'));
    await expect(deploy(`modal ${MODEL}`.split(' '), environment())).rejects.toMatchObject({
      code: 'backend_unavailable',
      message: expect.stringContaining('pip install modal') as string,
    });
  });

  it('stops where a tool fails', async () => {
    const failing = environment({ STUB_CODE: '3' });
    await expect(deploy(`${GOOGLE} --public`.split(' '), failing)).rejects.toThrow(
      'gcloud ended with 3',
    );
    expect((done() as { calls: unknown[] }).calls).toHaveLength(1);
    const script = await deploy(`${GOOGLE} --public --dry-run`.split(' '), {});
    await expect(run('/bin/sh', ['-c', script], { env: failing })).rejects.toMatchObject({
      code: 3,
    });
    expect((done() as { calls: unknown[] }).calls).toHaveLength(1);
  });

  it('ends the tool that runs when it is told to stop', async () => {
    const stop = new AbortController();
    const plan: Plan = {
      notes: [],
      steps: [{ kind: 'run', command: 'sh', args: ['-c', 'echo > started; exec sleep 600'] }],
    };
    const running = runPlan(plan, environment(), stop.signal);
    while (!existsSync('started')) await new Promise((resolve) => setImmediate(resolve));
    stop.abort(new UsageError('Stopped.'));
    await expect(running).rejects.toThrow();
  });

  it('quotes what a shell would read otherwise', async () => {
    const args = ["it's $HOME `id`", 'a  b', '*', ''];
    const script = planText({
      notes: [],
      steps: [{ kind: 'run', command: 'docker', args, env: { GEMLET_X: "'$(id)'" } }],
    });
    await run('/bin/sh', ['-c', script], { env: environment() });
    expect((done() as { calls: unknown[] }).calls).toEqual([
      ['docker', args, [['GEMLET_X', "'$(id)'"]], ''],
    ]);
  });

  it('says plainly that CUDA is not measured wherever a GPU is asked for', () => {
    const lines = LINES.filter((line) => line.includes('--gpu'));
    expect(lines).toHaveLength(4);
    for (const line of lines) expect(planText(deployPlan(line))).toContain('CUDA is not measured');
    for (const line of LINES.filter((other) => !other.includes('--gpu'))) {
      expect(deployPlan(line).notes.join('\n')).not.toContain('CUDA');
    }
  });

  it('sets what the Worker reads', () => {
    const line = 'cloudflare --replica https://a.example --affinity cookie --bundle gemma';
    const commands = commandsOf(deployPlan(`${line} --model-id gemma --context 4096`));
    const deployed = commands.at(-1);
    const config = readFileSync(join(ROOT, 'wrangler.toml'), 'utf8');
    const vars = (deployed?.args ?? []).filter((_, at, all) => all[at - 1] === '--var');
    expect(vars).toHaveLength(5);
    for (const pair of vars) expect(config).toMatch(new RegExp(`^${pair.split(':')[0]} = "`, 'm'));
    expect(vars).toContain('REPLICAS:https://a.example');
    const secrets = commands.filter(({ args }) => args.includes('secret'));
    expect(secrets).toHaveLength(2);
    for (const { args } of secrets) {
      expect(config).toContain(`wrangler secret put ${args[args.indexOf('put') + 1]} `);
    }
  });

  it('puts the secrets before the Worker, which would answer with errors until they are there', () => {
    const names = commandsOf(deployPlan('cloudflare --replica https://a.example'))
      .filter(({ command }) => command === 'npx')
      .map(({ args }) => args.find((word) => ['secret', 'deploy'].includes(word)));
    expect(names).toEqual(['secret', 'secret', 'deploy']);
  });

  it('hands wrangler a file that names the Worker wherever it lies, and leaves nothing to build', () => {
    const text = writtenText(
      deployPlan('cloudflare --replica https://a.example --bucket my-models'),
    );
    const file = parseToml(text);
    expect(file['main']).toBe(join(ROOT, 'dist/edge/worker.js'));
    expect(file).not.toHaveProperty('build');
    expect(file['r2_buckets']).toEqual([{ binding: 'MODELS', bucket_name: 'my-models' }]);
    expect(file['no_bundle']).toBe(true);
    const original = parseToml(readFileSync(join(ROOT, 'wrangler.toml'), 'utf8'));
    expect(file['vars']).toEqual(original['vars']);
  });

  it.each([
    ['20.19.0', 1],
    ['22.11.0', 1],
    ['22.12.0', 0],
    ['24.1.0', 0],
  ])('looks whether wrangler runs on Node.js %s, in the script as well', async (version, code) => {
    const [check] = commandsOf(deployPlan('cloudflare --replica https://a.example'));
    const versions = `Object.defineProperty(process, 'versions', { value: { node: '${version}' } })`;
    const args = ['--import', `data:text/javascript,${versions}`, ...(check?.args ?? [])];
    const ended = await run(process.execPath, args).then(
      () => ({ code: 0, stderr: '' }),
      (error: unknown) => error as { code: number; stderr: string },
    );
    expect(ended.code).toBe(code);
    if (code !== 0) expect(ended.stderr).toContain(`22.12 or newer, and this is ${version}`);
  });

  it('pins wrangler', () => {
    for (const { args } of commandsOf(deployPlan('cloudflare --replica https://a.example'))) {
      for (const word of args.filter((text) => text.startsWith('wrangler@'))) {
        expect(word).toMatch(/^wrangler@\d+\.\d+\.\d+$/);
      }
    }
  });

  it.each(LINES)('ends with the address, or with where it stands: %s', async (line) => {
    const told = await deploy(line.split(' '), environment());
    expect(told).toMatch(/address|https?:\/\/|URL/);
    const script = await deploy([...line.split(' '), '--dry-run'], {});
    expect(script.split('\n').at(-1)).toMatch(/^echo /);
  });

  it('builds the image from the file for its machine', () => {
    const [cpu, gpu] = LINES.slice(0, 2).map((line) => commandsOf(deployPlan(line))[0]?.args ?? []);
    expect(cpu).toContain(join(ROOT, 'infra/docker/Dockerfile'));
    expect(gpu).toContain(join(ROOT, 'infra/docker/Dockerfile.cuda'));
  });
});

describe('options of deploy', () => {
  it.each([
    ['', 'Say where to: gemlet deploy <docker|cloudrun'],
    ['heroku', 'There is no platform "heroku"'],
    ['modal extra', '"extra" is one argument too many'],
    ['modal --bucket b', "Unknown option '--bucket'"],
    [`modal --model s3://b/g`, 'gemlet deploy modal needs --image: an image such as'],
    ['modal --image r.example/g:1', 'gemlet deploy modal needs --model: s3://bucket/prefix'],
    [`${GOOGLE} --gpu h100`, '--gpu must be none, l4 or rtx-pro-6000, not "h100"'],
    [`${GOOGLE} --slots 0`, '--slots must be a whole number'],
    [`${GOOGLE} --tool pulumi`, '--tool must be gcloud or terraform'],
    [`${GOOGLE} --memory 32GB`, '--memory must be a size such as 32Gi'],
    [`${GOOGLE} --tool terraform --cpu 8`, '--cpu is set in main.tf'],
    [`${GOOGLE} --name Gemlet`, '--name must be up to 40 small letters'],
    ['modal --image r.example/g:1 --model ./gemma', '--model must be s3://bucket/prefix'],
    ['modal --image r.example/g:1 --model demo', '--model must be s3://bucket/prefix'],
    ["modal --image r'$(id)", '--image must be an image such as'],
    ['aws --region eu-central-1 --bucket b', 'gemlet deploy aws needs --replica'],
    [`runpod ${MODEL}`, 'A bucket of AWS needs --s3-region'],
    ['cloudflare --replica https://a --bundle s3://b/g', '--bundle must be a folder of the bucket'],
    ['aws --region eu-central-1 --bucket b --replica https://a --upstream https://b', 'not both'],
    ['aws --region eu-central-1 --bucket b --replica https://a --timeout 901', '--timeout must be'],
    ['cloudflare --replica ftp://a', '--replica must be an https URL'],
  ])('refuses "%s" in one sentence', (line, text) => {
    const parse = () => deployPlan(line);
    expect(parse).toThrow(UsageError);
    expect(parse).toThrow(text);
  });

  it('takes replicas one by one and as a list', () => {
    const { replicas } = parseDeployOptions(
      'cloudflare --replica https://a.example,https://b.example --replica http://c:8787'.split(' '),
    );
    expect(replicas).toEqual(['https://a.example', 'https://b.example', 'http://c:8787']);
  });
});

describe('fill', () => {
  it('fills names and drops lines whose condition does not hold', () => {
    const text = 'a: ${A}\nb: 1 # if b\nc: ${A}${C} # if c\n# if this is a comment it stays\n';
    expect(fill(text, { A: 'x', C: 'y' }, { b: false, c: true })).toBe(
      'a: x\nc: xy\n# if this is a comment it stays\n',
    );
  });

  it('fails for names and conditions that nobody knows', () => {
    expect(() => fill('${NOBODY}', {}, {})).toThrow('"NOBODY"');
    expect(() => fill('a # if nobody', {}, {})).toThrow('"nobody"');
  });
});
