import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { Miniflare } from 'miniflare';
import { parse } from 'smol-toml';
import type { ObjectNamespaceLike } from '../adapters/cloudflare/bindings.ts';

/** What is read of wrangler.toml. */
export interface WranglerFile {
  readonly main: string;
  readonly compatibility_date: string;
  readonly compatibility_flags: readonly string[];
  readonly vars: Readonly<Record<string, string>>;
  readonly r2_buckets: readonly { readonly binding: string }[];
  readonly durable_objects: {
    readonly bindings: readonly { readonly name: string; readonly class_name: string }[];
  };
  readonly migrations: readonly { readonly new_sqlite_classes: readonly string[] }[];
  readonly queues: {
    readonly producers: readonly { readonly binding: string; readonly queue: string }[];
    readonly consumers: readonly {
      readonly queue: string;
      readonly dead_letter_queue: string;
      readonly max_batch_size: number;
      readonly max_retries: number;
    }[];
  };
  readonly rules: readonly { readonly type: string; readonly globs: readonly string[] }[];
  readonly no_bundle: boolean;
  readonly send_metrics: boolean;
}

export interface LocalWorker {
  /** Such as `http://127.0.0.1:1234`. */
  readonly url: string;
  readonly bucket: LocalBucket;
  readonly sessions: ObjectNamespaceLike;
  /** Sends to the queue of captions. */
  sendCaption(message: unknown): Promise<void>;
  /** Whether a text is in the files of the session objects. */
  isStored(text: string): Promise<boolean>;
  close(): Promise<void>;
}

/** What is used of the bucket MODELS. */
export interface LocalBucket {
  get(
    key: string,
  ): Promise<{ text(): Promise<string>; arrayBuffer(): Promise<ArrayBuffer> } | null>;
  put(key: string, value: Uint8Array | ArrayBuffer): Promise<unknown>;
  list(options: { readonly prefix: string }): Promise<{
    readonly objects: readonly { readonly key: string }[];
  }>;
}

export interface LocalWorkerOptions {
  /** Variables and secrets, over those of wrangler.toml. */
  readonly vars?: Readonly<Record<string, string>>;
  /** Objects of the bucket MODELS. */
  readonly objects?: Readonly<Record<string, Uint8Array>>;
  /** Requests a minute of the binding LIMITER; left out, there is none. */
  readonly limitPerMinute?: number;
}

export function readWranglerFile(): WranglerFile {
  return parse(readFileSync('wrangler.toml', 'utf8')) as unknown as WranglerFile;
}

/**
 * The built Worker in workerd on this machine, with the bindings of wrangler.toml; to be called from the
 * repository's root. The one place that knows miniflare, whose next version has other options.
 */
export async function startLocalWorker(options: LocalWorkerOptions = {}): Promise<LocalWorker> {
  const file = readWranglerFile();
  const path = resolve(file.main);
  if (!existsSync(path)) throw new Error(`${file.main} is not there: run npm run build`);
  const wasm = ['mozjpeg_dec.wasm', 'webp-decoder.wasm'].map((name) => ({
    type: 'CompiledWasm' as const,
    path: join(dirname(path), name),
  }));
  const miniflare = new Miniflare({
    // Else it asks Cloudflare where this machine is.
    cf: false,
    host: '127.0.0.1',
    port: 0,
    modules: [{ type: 'ESModule', path }, ...wasm],
    modulesRoot: dirname(path),
    compatibilityDate: file.compatibility_date,
    compatibilityFlags: [...file.compatibility_flags],
    bindings: { ...file.vars, ...options.vars },
    r2Buckets: file.r2_buckets.map(({ binding }) => binding),
    durableObjects: Object.fromEntries(
      file.durable_objects.bindings.map(({ name, class_name: className }) => [
        name,
        { className, useSQLite: isSqlite(file, className) },
      ]),
    ),
    queueProducers: Object.fromEntries(
      file.queues.producers.map(({ binding, queue }) => [binding, { queueName: queue }]),
    ),
    queueConsumers: Object.fromEntries(
      file.queues.consumers.map(({ queue, ...consumer }) => [
        queue,
        {
          maxBatchSize: consumer.max_batch_size,
          maxBatchTimeout: 0,
          maxRetries: consumer.max_retries,
          deadLetterQueue: consumer.dead_letter_queue,
        },
      ]),
    ),
    ...(options.limitPerMinute === undefined
      ? {}
      : { ratelimits: limiter(options.limitPerMinute) }),
    // Logs of requests; those of failures help where a test fails.
    handleRuntimeStdio(stdout: Readable, stderr: Readable) {
      stdout.resume();
      if (process.env['GEMLET_WORKERD_LOGS'] === undefined) stderr.resume();
      else stderr.pipe(process.stderr);
    },
  });
  const url = await miniflare.ready;
  const bucket = (await miniflare.getR2Bucket('MODELS')) as unknown as LocalBucket;
  for (const [key, bytes] of Object.entries(options.objects ?? {})) await bucket.put(key, bytes);
  const namespace: unknown = await miniflare.getDurableObjectNamespace('SESSIONS');
  return {
    url: url.href.replace(/\/$/, ''),
    bucket,
    sessions: namespace as ObjectNamespaceLike,
    async sendCaption(message) {
      await (await miniflare.getQueueProducer('CAPTIONS')).send(message);
    },
    async isStored(text) {
      const folder = miniflare.unsafeGetPersistPaths().get('do') ?? '';
      const paths = readdirSync(folder, { recursive: true, withFileTypes: true });
      return paths.some((entry) => {
        return entry.isFile() && readFileSync(join(entry.parentPath, entry.name)).includes(text);
      });
    },
    close: () => miniflare.dispose(),
  };
}

function isSqlite({ migrations }: WranglerFile, className: string): boolean {
  return migrations.some(({ new_sqlite_classes: names }) => names.includes(className));
}

function limiter(limit: number): object {
  return { LIMITER: { namespace_id: '1001', simple: { limit, period: 60 } } };
}
