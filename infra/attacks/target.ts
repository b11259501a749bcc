import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LoadServer, startLoadServer } from '../bench/load-server.ts';
import type { Target } from './attack.ts';

/** What is attacked: processes of its own, the one that answers first. */
export interface RunningTarget {
  readonly servers: readonly [LoadServer, ...LoadServer[]];
  close(): Promise<void>;
}

/** Keys of two users; as long as any server may ask. */
export const ATTACKER_KEY = 'the-key-of-the-attacker';
export const OTHER_KEY = 'the-key-of-another-user';

const USERS = ['--api-key', ATTACKER_KEY, '--api-key', OTHER_KEY];
const FLEET = ['--fleet-key', 'shared by a gateway and its replicas'];
/** As in a container of 1 GB. */
const SMALL_HEAP = ['--max-old-space-size=512'];
const REPLICAS = 2;

export async function startTarget(target: Target): Promise<RunningTarget> {
  if (target === 'gateway') return startFleet();
  const folder = target === 'store' ? mkdtempSync(join(tmpdir(), 'gemlet-attacks-')) : null;
  const remove = (): void => {
    if (folder !== null) rmSync(folder, { recursive: true, force: true });
  };
  try {
    const flags = [
      ...USERS,
      ...(target === 'replica' ? FLEET : []),
      ...(folder === null ? [] : ['--kv-store', folder]),
    ];
    const server = await startLoadServer(flags, undefined, 'serve', SMALL_HEAP);
    return { servers: [server], close: () => server.kill().finally(remove) };
  } catch (error) {
    remove();
    throw error;
  }
}

async function startFleet(): Promise<RunningTarget> {
  const replicas: LoadServer[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(replicas.map((each) => each.kill()));
  };
  try {
    for (let count = 0; count < REPLICAS; count++) {
      const flags = [...FLEET, '--api-key', ATTACKER_KEY, '--threads', '1'];
      replicas.push(await startLoadServer(flags, undefined, 'serve', SMALL_HEAP));
    }
    const flags = [...USERS, ...FLEET, ...replicas.flatMap(({ url }) => ['--replica', url])];
    const front = await startLoadServer(flags, undefined, 'gateway', SMALL_HEAP);
    return {
      servers: [front, ...replicas],
      close: () => front.kill().then(close),
    };
  } catch (error) {
    await close();
    throw error;
  }
}
