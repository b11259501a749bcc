import { ServeError } from '../../src/errors.ts';
import { abortable } from '../../src/lib/abortable.ts';
import { systemClock } from '../../src/lib/clock.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { checkObjectKey } from '../../src/weights/object-key.ts';
import type { ObjectInfo } from '../../src/weights/object-source.ts';
import { checkObjectPrefix, isObjectKey } from '../../src/weights/object-store.ts';
import type { ListedObject, ObjectStore } from '../../src/weights/object-store.ts';
import { PassingFailure, retrying, runAttempt } from '../../src/weights/web-attempt.ts';
import type { R2BodyLike, R2BucketLike, R2ObjectLike, R2PageLike } from './r2-bucket.ts';

export interface R2StoreOptions {
  /** The binding, such as `env.MODELS`. */
  readonly bucket: R2BucketLike;
  /** Folder within the bucket; default: all of it. */
  readonly prefix?: string;
  readonly clock?: Pick<Clock, 'sleep'>;
  /** Silence after which a read is started anew, in milliseconds; default 30,000. */
  readonly stallMs?: number;
}

/** Metadata by which a conditional write knows its own object again. */
const MARK = 'gemlet-write';

/**
 * Objects of a Cloudflare R2 bucket through its binding, in a Worker and wherever bindings are
 * emulated. Reads are ranges of the version that was seen first.
 * @throws ServeError invalid_checkpoint: a prefix that is no plain folder
 */
export function createR2Store(options: R2StoreOptions): ObjectStore {
  const { bucket } = options;
  const folder = (options.prefix ?? '').replace(/\/$/, '');
  const prefix = folder === '' ? '' : `${checkObjectKey(folder)}/`;
  const name = folder === '' ? 'r2:' : `r2:${folder}`;
  const clock = options.clock ?? systemClock;
  const patience = {
    stallMs: options.stallMs ?? 30_000,
    sleep: (ms: number, signal?: AbortSignal) => clock.sleep(ms, signal),
  };
  const objects = new Map<string, ObjectInfo>();
  const closing = new AbortController();

  const whileOpen = (signal?: AbortSignal): AbortSignal => {
    const combined =
      signal === undefined ? closing.signal : AbortSignal.any([signal, closing.signal]);
    combined.throwIfAborted();
    return combined;
  };
  /** Repeats a call of the binding, whose failures are all worth another try. */
  const call = <T>(
    key: string,
    signal: AbortSignal,
    attempt: (signal: AbortSignal, alive: () => void) => Promise<T>,
    progress: () => number = () => 0,
  ): Promise<T> =>
    retrying(
      patience,
      `${name}: ${key}`,
      progress,
      () => runAttempt(patience, signal, attempt),
      signal,
    );

  const describe = async (key: string, signal: AbortSignal): Promise<ObjectInfo | null> => {
    const known = objects.get(checkObjectKey(key));
    if (known !== undefined) return known;
    const found = await call(key, signal, (asking) => abortable(bucket.head(prefix + key), asking));
    if (found === null) return null;
    const info = infoOf(found);
    objects.set(key, info);
    return info;
  };

  const read = async (
    key: string,
    info: ObjectInfo,
    offset: number,
    target: Uint8Array,
    signal: AbortSignal,
  ): Promise<void> => {
    let done = 0;
    const attempt = async (asking: AbortSignal, alive: () => void): Promise<void> => {
      const range = { offset: offset + done, length: target.length - done };
      const onlyIf = info.etag === null ? {} : { onlyIf: { etagMatches: info.etag } };
      const getting = bucket.get(prefix + key, { ...onlyIf, range });
      void discardIfLate(getting, asking);
      const found = await abortable(getting, asking);
      alive();
      if (found === null || !hasBody(found) || found.etag !== info.etag) {
        discard(found);
        // The next read may begin with the new version.
        objects.delete(key);
        throw new ServeError(
          'weights_unavailable',
          `${name}: ${key} changed while it was read; start again to load the new version`,
        );
      }
      await fillFrom(found.body, target.subarray(done), asking, (count) => {
        done += count;
        alive();
      });
    };
    await call(key, signal, attempt, () => done);
  };

  async function* list(
    begin: string,
    delimiter: { readonly delimiter?: string },
    signal: AbortSignal,
  ): AsyncGenerator<ListedObject> {
    let cursor: { readonly cursor?: string } | null = {};
    while (cursor !== null) {
      const asked = { prefix: prefix + begin, ...delimiter, ...cursor };
      const page: R2PageLike = await call(
        begin === '' ? 'its list' : `${begin}*`,
        signal,
        (asking) => abortable(bucket.list(asked), asking),
      );
      for (const found of page.objects) {
        const key = found.key.slice(prefix.length);
        const { size: sizeBytes, uploaded } = found;
        const time = uploaded === undefined ? {} : { modifiedMs: uploaded.getTime() };
        if (isObjectKey(key)) yield { key, sizeBytes, ...time };
      }
      cursor = page.truncated && page.cursor !== undefined ? { cursor: page.cursor } : null;
    }
  }

  return {
    name,
    async head(key, signal) {
      return describe(key, whileOpen(signal));
    },
    async read(key, offset, target, signal) {
      const readSignal = whileOpen(signal);
      const info = await describe(key, readSignal);
      if (info === null) {
        throw new ServeError('weights_unavailable', `${name}: ${key} does not exist`);
      }
      if (offset + target.length > info.sizeBytes) {
        throw new ServeError(
          'weights_unavailable',
          `${name}: ${key} has ${info.sizeBytes} bytes, asked for ${offset} to ${offset + target.length}`,
        );
      }
      if (target.length > 0) await read(key, info, offset, target, readSignal);
    },
    async list(signal) {
      const keys: string[] = [];
      for await (const { key } of list('', { delimiter: '/' }, whileOpen(signal))) keys.push(key);
      return keys;
    },
    async *listPrefix(begin, signal) {
      yield* list(checkObjectPrefix(begin), {}, whileOpen(signal));
    },
    async write(key, body, { ifAbsent = false, signal } = {}) {
      const writeSignal = whileOpen(signal);
      objects.delete(checkObjectKey(key));
      const mark = crypto.randomUUID();
      const condition = ifAbsent
        ? { onlyIf: { etagDoesNotMatch: '*' }, customMetadata: { [MARK]: mark } }
        : {};
      let attempts = 0;
      const written = await call(key, writeSignal, async (asking) => {
        attempts++;
        const made = await abortable(bucket.put(prefix + key, body, condition), asking);
        if (made !== null || attempts === 1) return made;
        // An earlier attempt may have been done without our hearing of it: then the object is ours.
        const there = await abortable(bucket.head(prefix + key), asking);
        return there?.customMetadata?.[MARK] === mark ? there : null;
      });
      if (written === null) return null;
      const info = infoOf(written);
      objects.set(key, info);
      return info;
    },
    async remove(key, signal) {
      const removeSignal = whileOpen(signal);
      checkObjectKey(key);
      await call(key, removeSignal, (asking) => abortable(bucket.delete(prefix + key), asking));
      objects.delete(key);
    },
    close() {
      closing.abort(new ServeError('internal', `${name} is closed`));
      return Promise.resolve();
    },
  };
}

/**
 * Fills `target` with a body.
 * @throws PassingFailure: fewer or more bytes than `target` holds
 */
async function fillFrom(
  body: ReadableStream<Uint8Array>,
  target: Uint8Array,
  signal: AbortSignal,
  received: (count: number) => void,
): Promise<void> {
  const reader = body.getReader();
  let done = 0;
  try {
    for (;;) {
      const chunk = await abortable(reader.read(), signal);
      if (chunk.done) break;
      if (chunk.value.length > target.length - done) {
        throw new PassingFailure('the bucket sent more than asked for');
      }
      target.set(chunk.value, done);
      done += chunk.value.length;
      received(chunk.value.length);
    }
  } finally {
    // A body that has ended, failed or is given up: nobody waits for its last word.
    reader.cancel().catch(() => undefined);
  }
  if (done < target.length) {
    throw new PassingFailure(`the bucket sent ${done} of ${target.length} bytes`);
  }
}

function infoOf({ size, etag }: R2ObjectLike): ObjectInfo {
  return { sizeBytes: size, etag };
}

function hasBody(object: R2ObjectLike): object is R2BodyLike {
  return (object as Partial<R2BodyLike>).body !== undefined;
}

/** A body that comes after an abort has no reader. */
async function discardIfLate(
  getting: Promise<R2ObjectLike | null>,
  signal: AbortSignal,
): Promise<void> {
  const late = await getting.catch(() => null);
  if (signal.aborted) discard(late);
}

/** Ends a body that nobody reads. */
function discard(object: R2ObjectLike | null): void {
  if (object !== null && hasBody(object)) object.body.cancel().catch(() => undefined);
}
