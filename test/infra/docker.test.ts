import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { DockerfileParser, type Instruction } from 'dockerfile-ast';
import { describe, expect, it } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { parseGatewayOptions } from '../../adapters/cli/gateway-options.ts';
import { infraFile, probe, ROOT, serveWith } from '../support/infra.ts';

const run = promisify(execFile);

/** Stages as lists of instructions, each with its words. */
function stagesOf(name: string): Instruction[][] {
  const stages: Instruction[][] = [];
  for (const instruction of DockerfileParser.parse(infraFile(`docker/${name}`)).getInstructions()) {
    if (instruction.getKeyword() === 'FROM') stages.push([]);
    stages.at(-1)?.push(instruction);
  }
  return stages;
}

function texts(stage: readonly Instruction[], keyword: string): string[] {
  return stage
    .filter((instruction) => instruction.getKeyword() === keyword)
    .map((instruction) => instruction.getTextContent().replace(/^\w+\s+/, ''));
}

function list(text: string | undefined): string[] {
  return JSON.parse(text ?? '[]') as string[];
}

const ignoreLines = (await readFile(join(ROOT, '.dockerignore'), 'utf8')).split('\n');
const FILES = ['Dockerfile', 'Dockerfile.cuda', 'Dockerfile.npm'];

describe.each(FILES)('infra/docker/%s', (name) => {
  const stages = stagesOf(name);
  const final = stages.at(-1) ?? [];
  const healthcheck = /CMD (\[.*\])/s.exec(texts(final, 'HEALTHCHECK')[0] ?? '')?.[1];

  it('ends as a user without rights, and stops by SIGTERM', () => {
    expect(texts(final, 'USER').at(-1)).toMatch(/^(node|1000:1000)$/);
    expect(texts(final, 'STOPSIGNAL')).toEqual(['SIGTERM']);
    // A shell between Docker and the server would swallow the signal.
    expect(list(texts(final, 'ENTRYPOINT')[0]).length).toBeGreaterThan(1);
    expect(list(texts(final, 'CMD')[0])).toEqual(['serve']);
  });

  it('pins what it starts from, and starts from no other tag', () => {
    for (const [from] of stages.map((stage) => texts(stage, 'FROM'))) {
      expect(from).toMatch(/^(node:24-bookworm-slim|nvidia\/cuda:12\.\d+\.\d+-cudnn-runtime-\S+)/);
    }
  });

  it('copies no weights, no folder as a whole, and nothing that is missing', () => {
    for (const stage of stages) {
      for (const text of [...texts(stage, 'COPY'), ...texts(stage, 'ADD')]) {
        if (text.startsWith('--from=')) continue;
        const sources = text.split(/\s+/).slice(0, -1);
        for (const source of sources) {
          expect(source).not.toMatch(/^\.?\/?$|safetensors|gguf|demo-model|\*/);
          expect(existsSync(join(ROOT, source)), source).toBe(true);
          // The package is a context of its own, without such a file.
          if (name === 'Dockerfile.npm') continue;
          expect(ignoreLines, `.dockerignore lets ${source} in`).toContain(`!${source}`);
        }
      }
    }
  });

  it('installs without scripts, in a checkout from the lockfile, and ships no development packages', () => {
    const installs = stages
      .flatMap((stage) => texts(stage, 'RUN'))
      .filter((text) => text.includes('npm '));
    const isPackage = name === 'Dockerfile.npm';
    expect(installs).toHaveLength(isPackage ? 1 : 2);
    for (const text of installs) {
      expect(text).toMatch(
        isPackage ? /npm install .*--ignore-scripts/ : /npm ci .*--ignore-scripts/,
      );
    }
    const [modules] = texts(final, 'COPY').filter((text) => text.includes('node_modules'));
    const from = /--from=(\w+)/.exec(modules ?? '')?.[1] ?? '';
    const stage = stages.find(([first]) => first?.getArgumentsContent()?.endsWith(` AS ${from}`));
    expect(texts(stage ?? [], 'RUN')[0]).toContain('--omit=dev');
  });

  it('has an environment that the server understands', () => {
    const pairs = texts(final, 'ENV').flatMap((text) => text.split(/\s+/));
    const environment = Object.fromEntries(pairs.map((pair) => pair.split('='))) as Record<
      string,
      string
    >;
    expect(() => serveWith(environment)).toThrow('or say --allow-anyone');
    const { host, port } = serveWith({ ...environment, GEMLET_API_KEY: 'a-key-of-the-clients' });
    expect(host).toBe('0.0.0.0');
    expect(texts(final, 'EXPOSE')).toEqual([String(port)]);
  });

  it('has a health check that tells a live server from a dead one', async () => {
    const [command = '', ...args] = list(healthcheck);
    expect(command).toBe('node');
    const asked: string[] = [];
    let status = 200;
    const server = createServer((request, response) => {
      asked.push(request.url ?? '');
      response.writeHead(status).end();
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const env = { ...process.env, PORT: String((server.address() as AddressInfo).port) };
    try {
      await run(process.execPath, args, { env });
      status = 503;
      await expect(run(process.execPath, args, { env })).rejects.toMatchObject({ code: 1 });
    } finally {
      server.close();
    }
    await once(server, 'close');
    await expect(run(process.execPath, args, { env })).rejects.toMatchObject({ code: 1 });
    expect(await probe(asked[0] ?? '', 'loading')).toBe(200);
    expect(await probe(asked[0] ?? '', 'closed')).toBe(503);
  });
});

describe('infra/docker', () => {
  it('keeps everything out of the context but what is named, and weights in any case', () => {
    const rules = ignoreLines.filter((line) => line !== '' && !line.startsWith('#'));
    expect(rules[0]).toBe('*');
    expect(rules).toContain('**/*.safetensors');
  });

  it('ends the build of the CUDA image where the provider or a library of it is missing', () => {
    const runs = stagesOf('Dockerfile.cuda').flatMap((stage) => texts(stage, 'RUN'));
    const provider = runs.find((text) => text.includes('ONNXRUNTIME_NODE_INSTALL=cuda12'));
    expect(provider).toMatch(/test -s \S+libonnxruntime_providers_cuda\.so/);
    const links = runs.find((text) => text.includes('ldd'));
    expect(links).toMatch(/^! ldd \S+libonnxruntime_providers_cuda\.so/);
    expect(infraFile('docker/Dockerfile.cuda')).toContain('CUDA is not measured');
  });

  it('starts the CUDA image only where there is a GPU, and becomes the server then', async () => {
    const script = join(ROOT, 'infra/docker/require-gpu.sh');
    const folder = mkdtempSync(join(tmpdir(), 'gemlet-gpu-'));
    try {
      const main = join(folder, 'main.mjs');
      writeFileSync(main, 'console.log(JSON.stringify([process.pid, process.argv.slice(2)]))');
      const env = { ...process.env, NVIDIA_DEVICE: join(folder, 'nvidiactl'), GEMLET_MAIN: main };
      await expect(run('/bin/sh', [script, 'serve'], { env })).rejects.toMatchObject({
        code: 1,
        stderr: expect.stringContaining('start the container with a GPU') as string,
      });
      writeFileSync(env.NVIDIA_DEVICE, '');
      const started = run('/bin/sh', [script, 'serve', '--slots', '2'], { env });
      const { stdout } = await started;
      expect(JSON.parse(stdout)).toEqual([started.child.pid, ['serve', '--slots', '2']]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

interface ComposeService {
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly stop_grace_period: string;
}

describe('infra/docker/compose.yaml', () => {
  const variables: Readonly<Record<string, string>> = {
    GEMLET_FLEET_KEY: 'a-key-of-a-fleet-of-two',
    GEMLET_API_KEY: 'a-key-of-the-clients',
    MODEL_FOLDER: '/models/gemma',
  };
  const text = infraFile('docker/compose.yaml').replaceAll(
    /\$\{(\w+):([-?])([^}]*)\}/g,
    (_, name: string, kind: string, rest: string) =>
      variables[name] ?? (kind === '-' ? rest : expect.fail(`${name} has no value: ${rest}`)),
  );
  const { services, volumes } = parseYaml(text, { merge: true }) as {
    readonly services: Readonly<Record<string, ComposeService>>;
    readonly volumes: object;
  };
  const { gateway, ...replicas } = services;

  it('puts a gateway in front of replicas that nobody else reaches', () => {
    const urls = Object.keys(replicas).map((name) => `http://${name}:8787`);
    expect(urls.length).toBeGreaterThan(1);
    expect(gateway?.command).toEqual(['gateway']);
    expect(gateway?.environment['GEMLET_REPLICA']?.split(',')).toEqual(urls);
    const settings = parseGatewayOptions(['--host', '0.0.0.0'], gateway?.environment ?? {});
    expect(settings.addresses).toEqual(urls);
    expect(settings.apiKeys).toEqual(['a-key-of-the-clients']);
    expect(gateway?.ports).toEqual(['8787:8787']);
    for (const { ports } of Object.values(replicas)) expect(ports).toBeUndefined();
  });

  it('gives replicas settings that they understand, one key and one place for pages', () => {
    for (const { command, environment, volumes: mounts, ...rest } of Object.values(replicas)) {
      expect(command).toEqual(['serve']);
      const settings = serveWith({ GEMLET_HOST: '0.0.0.0', ...environment });
      const { engine, fleetKeys, drainMs } = settings;
      // Gateways alone: others in the network get nothing.
      expect([settings.isPublic, settings.isOpen]).toEqual([true, false]);
      expect(fleetKeys).toEqual([gateway?.environment['GEMLET_FLEET_KEY']]);
      expect(mounts).toEqual([`/models/gemma:${engine.model}:ro`, `kv:${engine.kvStore}`]);
      expect(Number.parseInt(rest.stop_grace_period, 10) * 1000).toBeGreaterThan(drainMs);
    }
    expect(Object.keys(volumes)).toEqual(['kv']);
  });
});
