import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { FakeKeys } from './fake-s3-signature.ts';

export interface RunningRadosgw extends FakeKeys {
  readonly endpoint: string;
  stop(): Promise<void>;
}

const SCRIPT = fileURLToPath(new URL('../../infra/s3/radosgw.sh', import.meta.url));

/** Starts Ceph's S3 server, which takes about 20 seconds. */
export async function startRadosgw(): Promise<RunningRadosgw> {
  const folder = await mkdtemp(join(tmpdir(), 'gemlet-radosgw-'));
  const ports = await Promise.all([freePort(), freePort()]);
  const child = spawn(SCRIPT, [folder, ...ports.map(String)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const ready = once(createInterface(child.stdout), 'line');
  const [line] = (await Promise.race([ready, exited])) as [unknown];
  if (typeof line !== 'string') throw new Error(`${SCRIPT} ended with status ${String(line)}`);
  const keys = JSON.parse(line) as FakeKeys & { readonly endpoint: string };
  return {
    ...keys,
    async stop() {
      child.stdin.end();
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
