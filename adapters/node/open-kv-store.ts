import { randomUUID } from 'node:crypto';
import { PAGE_TOKENS } from '../../src/engine/kv/kv-memory.ts';
import type { KvStore } from '../../src/engine/kv/kv-store.ts';
import { createObjectKvStore } from '../../src/engine/kv/store/object-kv-store.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createKeyedHash } from '../../src/lib/keyed-hash.ts';
import type { OpenedCheckpoint } from '../../src/weights/open-checkpoint.ts';
import type { LoadingBackend } from '../onnx/backend.ts';
import type { EngineOptions } from './engine-settings.ts';
import { diskBytesOf, openModelStore } from './open-source.ts';
import { nodeHmac, nodeSha256 } from './sha256.ts';

/** Without use; what a replica wrote last week is rarely asked for again. */
const KEEP_DAYS = 7;
const STORE_BYTES = 64 * 2 ** 30;
/** Others write to the disk, too. */
const DISK_PART = 0.5;

function defaultBytes(location: string): number {
  const diskBytes = diskBytesOf(location) ?? Number.POSITIVE_INFINITY;
  return Math.min(STORE_BYTES, Math.floor(diskBytes * DISK_PART));
}

/**
 * Opens the place where keys and values of this model outlive the process.
 * @param location a folder or `s3://bucket/prefix`
 */
export function openKvStore(
  location: string,
  checkpoint: OpenedCheckpoint,
  backend: LoadingBackend,
  settings: Pick<
    EngineOptions,
    'kvStoreKey' | 'kvStoreFormat' | 'kvRestore' | 'kvStoreBytes' | 'kvKeepDays' | 'onEvent'
  >,
): KvStore {
  const { config, fingerprint } = checkpoint;
  const { kvStoreKey: key } = settings;
  const { kvKeepDays: keepDays = KEEP_DAYS, kvStoreBytes: maxBytes = defaultBytes(location) } =
    settings;
  return createObjectKvStore({
    store: openModelStore(location, { isPrivate: true }),
    fingerprint: `${fingerprint};${backend.kvKind}`,
    kvTokenBytes: backend.kvTokenBytes,
    int8HeadDim: settings.kvStoreFormat === 'int8' ? config.text.headDim : null,
    windowTokens: config.text.windowTokens,
    tokensPerImage: config.vision?.tokensPerImage ?? 0,
    pageTokens: PAGE_TOKENS,
    clock: systemClock,
    instance: randomUUID(),
    sha256: key === undefined ? nodeSha256 : createKeyedHash(key, 'pages', nodeHmac),
    keepDays: keepDays === 0 ? null : keepDays,
    maxBytes: maxBytes === 0 ? Number.POSITIVE_INFINITY : maxBytes,
    alwaysRestores: settings.kvRestore === 'always',
    onFailure: (error) => settings.onEvent?.({ type: 'kv-failed', error }),
  });
}
