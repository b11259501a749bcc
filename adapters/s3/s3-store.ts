import { ServeError } from '../../src/errors.ts';
import { checkObjectKey } from '../../src/weights/object-key.ts';
import type { ObjectInfo } from '../../src/weights/object-source.ts';
import { checkObjectPrefix } from '../../src/weights/object-store.ts';
import type { ObjectStore } from '../../src/weights/object-store.ts';
import { createS3Head } from './s3-head.ts';
import { listObjects } from './s3-list.ts';
import { parseS3Location } from './s3-location.ts';
import { readObject } from './s3-read.ts';
import { createS3Session } from './s3-session.ts';
import type { S3SessionOptions } from './s3-session.ts';
import { removeObject, writeObject } from './s3-write.ts';

export interface S3StoreOptions extends S3SessionOptions {
  /** `s3://bucket` or `s3://bucket/folder` */
  readonly url: string;
}

/**
 * Objects of an S3 bucket, or of anything that speaks like one, by ranged GETs of the version that
 * was seen first. Broken, stalled and lying answers are asked for again from the last good byte;
 * 429, 503 and their kin are waited out. The AWS SDK is loaded with the first request.
 * @throws ServeError invalid_url
 */
export function createS3Store(options: S3StoreOptions): ObjectStore {
  const session = createS3Session(parseS3Location(options.url), options);
  const { name } = session.location;
  const head = createS3Head(session);
  /** What is known of objects that are there; an absent one is looked for again. */
  const objects = new Map<string, ObjectInfo>();

  const describe = async (key: string, signal: AbortSignal): Promise<ObjectInfo | null> => {
    signal.throwIfAborted();
    const known = objects.get(checkObjectKey(key));
    if (known !== undefined) return known;
    const found = await head(key, signal);
    if (found !== null) objects.set(key, found);
    return found;
  };

  return {
    name,
    async head(key, signal) {
      return describe(key, session.whileOpen(signal));
    },
    expect(key, info) {
      if (!objects.has(checkObjectKey(key))) objects.set(key, info);
    },
    async read(key, offset, target, signal) {
      const readSignal = session.whileOpen(signal);
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
      if (target.length === 0) return;
      const onChanged = (): void => {
        // The next read may begin with the new version.
        if (objects.get(key) === info) objects.delete(key);
      };
      await readObject(session, { key, info, offset, onChanged }, target, readSignal);
    },
    async list(signal) {
      const keys: string[] = [];
      for await (const { key } of listObjects(session, '', '/', session.whileOpen(signal))) {
        keys.push(key);
      }
      return keys;
    },
    async write(key, body, { ifAbsent = false, signal } = {}) {
      const writeSignal = session.whileOpen(signal);
      writeSignal.throwIfAborted();
      objects.delete(checkObjectKey(key));
      const written = await writeObject(session, key, body, ifAbsent, writeSignal);
      if (written !== null) objects.set(key, written);
      return written;
    },
    async *listPrefix(prefix, signal) {
      yield* listObjects(session, checkObjectPrefix(prefix), '', session.whileOpen(signal));
    },
    async remove(key, signal) {
      const removeSignal = session.whileOpen(signal);
      removeSignal.throwIfAborted();
      await removeObject(session, checkObjectKey(key), removeSignal);
      objects.delete(key);
    },
    close: () => session.close(),
  };
}
