import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { ROOT } from '../support/infra.ts';

const BODY = { name: 'gemlet', type: 'LOAD_BALANCER', image: 'r.example/gemlet:1' };
const ended: (() => void)[] = [];
afterEach(() => {
  for (const end of ended.splice(0)) end();
});

interface Told {
  readonly calls: readonly string[];
  readonly keys: ReadonlySet<string>;
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the script against an account that has these endpoints. */
async function apply(endpoints: readonly object[] | undefined, status = 200): Promise<Told> {
  const calls: string[] = [];
  const keys = new Set<string>();
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (piece: Buffer) => (body += piece.toString()));
    request.on('end', () => {
      keys.add(request.headers.authorization ?? '');
      calls.push(`${request.method} ${request.url} ${body}`.trim());
      const isList = request.method === 'GET';
      const answer = isList ? { endpoints } : { id: request.url?.split('/')[3] ?? 'new1', ...BODY };
      response.writeHead(isList ? 200 : status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(answer));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const folder = mkdtempSync(join(tmpdir(), 'gemlet-runpod-'));
  ended.push(() => {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const file = join(folder, 'endpoint.json');
  writeFileSync(file, JSON.stringify(BODY));
  const { port } = server.address() as AddressInfo;
  const env = { ...process.env, RUNPOD_API_URL: `http://127.0.0.1:${port}` };
  return new Promise((resolve) => {
    const args = [join(ROOT, 'infra/runpod/apply.mjs'), file];
    const child = execFile(process.execPath, args, { env }, (error, stdout, stderr) => {
      resolve({ calls, keys, stdout, stderr, code: error === null ? 0 : Number(error.code) });
    });
    child.stdin?.end('the key\n');
  });
}

const { type: _, ...CHANGES } = BODY;

it('makes the endpoint where there is none of its name, and says its address', async () => {
  const told = await apply([{ id: 'other1', name: 'gemlet-2' }]);
  expect(told.code).toBe(0);
  expect(told.calls).toEqual([
    'GET /v2/serverless',
    `POST /v2/serverless ${JSON.stringify({ type: BODY.type, ...CHANGES })}`,
  ]);
  expect([...told.keys]).toEqual(['Bearer the key']);
  expect(told.stdout.trimEnd().split('\n').at(-1)).toBe('https://new1.api.runpod.ai');
});

it('changes the one that is there, so that a second run makes no second one', async () => {
  const told = await apply([{ id: 'ep1', name: 'gemlet' }]);
  expect(told.calls.at(-1)).toBe(`PATCH /v2/serverless/ep1 ${JSON.stringify(CHANGES)}`);
  expect(told.calls).toHaveLength(2);
  expect(told.stdout).toContain('https://ep1.api.runpod.ai');
});

it('touches nothing where it cannot tell which one is meant', async () => {
  const same = { id: 'ep1', name: 'gemlet' };
  const told = await apply([same, { ...same, id: 'ep2' }]);
  expect([told.code, told.calls]).toEqual([1, ['GET /v2/serverless']]);
  expect(told.stderr).toContain('2 endpoints named gemlet');
  expect((await apply(undefined)).stderr).toContain('listed no endpoints');
});

it('says what RunPod says, and never the key', async () => {
  const told = await apply([], 422);
  expect(told.code).toBe(1);
  expect(told.stderr).toContain('RunPod answered 422 to POST /v2/serverless');
  expect(told.stdout + told.stderr).not.toContain('the key');
});
