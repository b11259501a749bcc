import { ServeError } from '../../src/errors.ts';
import { abortable } from '../../src/lib/abortable.ts';
import type { ObjectInfo } from '../../src/weights/object-source.ts';
import type { S3Api } from './s3-client.ts';
import { readFailure } from './s3-fault.ts';
import { discard, discardIfLate } from './s3-read.ts';
import type { S3Session } from './s3-session.ts';

/**
 * Asks for size and etag of an object; null when it is absent. A refused HEAD has no body to say
 * why, so a GET of one byte asks again: a missing bucket, a wrong key and a wrong region differ.
 */
export function createS3Head(
  session: S3Session,
): (key: string, signal: AbortSignal) => Promise<ObjectInfo | null> {
  const { bucket, prefix, name } = session.location;
  /** Once the bucket is known, "not found" can only mean the object. */
  let isBucketKnown = false;

  const headOnce = async (
    { sdk, client }: S3Api,
    key: string,
    signal: AbortSignal,
  ): Promise<ObjectInfo> => {
    const command = new sdk.HeadObjectCommand({ Bucket: bucket, Key: prefix + key });
    const output = await abortable(client.send(command, { abortSignal: signal }), signal);
    return infoOf(output.ContentLength, output.ETag, `${name}: ${key}`);
  };

  /** @returns what a GET of the first byte tells */
  const getOnce = async (
    { sdk, client }: S3Api,
    key: string,
    signal: AbortSignal,
  ): Promise<ObjectInfo> => {
    const command = new sdk.GetObjectCommand({
      Bucket: bucket,
      Key: prefix + key,
      Range: 'bytes=0-0',
    });
    const sent = client.send(command, { abortSignal: signal });
    void discardIfLate(sent, signal);
    const output = await abortable(sent, signal);
    // At most a byte where ranges work; elsewhere the whole object would follow.
    discard(output);
    const total = /\/(\d+)$/.exec(output.ContentRange ?? '')?.[1];
    return infoOf(
      total === undefined ? output.ContentLength : Number(total),
      output.ETag,
      `${name}: ${key}`,
    );
  };

  return (key, signal) =>
    session.call(
      { right: 's3:GetObject', key },
      async (api, attemptSignal, alive) => {
        try {
          const info = await headOnce(api, key, attemptSignal);
          isBucketKnown = true;
          return info;
        } catch (error) {
          const { status } = readFailure(error);
          if (status === 404 && isBucketKnown) return null;
          if (status === null || status < 300 || status === 429 || status >= 500) throw error;
          alive();
          return await getOnce(api, key, attemptSignal).catch((reason: unknown) => {
            const why = readFailure(reason);
            if (why.status === 404 && why.code !== 'NoSuchBucket') {
              isBucketKnown = true;
              return null;
            }
            // An empty object has no first byte: the HEAD's own answer says more.
            throw why.status === 416 ? error : reason;
          });
        }
      },
      signal,
    );
}

function infoOf(sizeBytes: number | undefined, etag: string | undefined, what: string): ObjectInfo {
  if (sizeBytes !== undefined && Number.isSafeInteger(sizeBytes)) {
    return { sizeBytes, etag: etag ?? null };
  }
  throw new ServeError('weights_unavailable', `${what}: the server does not tell its size`);
}
