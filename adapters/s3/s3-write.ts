import { ServeError } from '../../src/errors.ts';
import { abortable } from '../../src/lib/abortable.ts';
import type { ObjectInfo } from '../../src/weights/object-source.ts';
import type { S3Api } from './s3-client.ts';
import { readFailure } from './s3-fault.ts';
import type { S3Session } from './s3-session.ts';

/** What one PutObject takes. */
const MAX_BODY_BYTES = 5 * 2 ** 30;

/** Metadata by which a conditional write knows its own object again. */
const MARK = 'gemlet-write';

/**
 * Creates or replaces an object; null when `ifAbsent` and it is there.
 * @throws ServeError weights_unavailable; the signal's reason on abort
 */
export async function writeObject(
  session: S3Session,
  key: string,
  body: Uint8Array,
  ifAbsent: boolean,
  signal: AbortSignal,
): Promise<ObjectInfo | null> {
  const { bucket, prefix, name } = session.location;
  if (body.length > MAX_BODY_BYTES) {
    throw new ServeError(
      'weights_unavailable',
      `${name}: ${key} has ${body.length} bytes, an upload takes ${MAX_BODY_BYTES}; write it in parts`,
    );
  }
  const mark = crypto.randomUUID();
  let attempts = 0;

  /** An earlier attempt may have been done without our hearing of it: then the object is ours. */
  const ownWrite = async (
    { sdk, client }: S3Api,
    asking: AbortSignal,
  ): Promise<ObjectInfo | null> => {
    const command = new sdk.HeadObjectCommand({ Bucket: bucket, Key: prefix + key });
    const output = await abortable(client.send(command, { abortSignal: asking }), asking);
    if (output.Metadata?.[MARK] !== mark) return null;
    return { sizeBytes: body.length, etag: output.ETag ?? null };
  };

  return session.call(
    { right: 's3:PutObject', key, sentBytes: body.length },
    async (api, attemptSignal, alive) => {
      attempts++;
      const { sdk, client } = api;
      const command = new sdk.PutObjectCommand({
        Bucket: bucket,
        Key: prefix + key,
        Body: body,
        ContentLength: body.length,
        ...(ifAbsent ? { IfNoneMatch: '*', Metadata: { [MARK]: mark } } : {}),
      });
      try {
        const sent = client.send(command, { abortSignal: attemptSignal });
        const output = await abortable(sent, attemptSignal);
        return { sizeBytes: body.length, etag: output.ETag ?? null };
      } catch (error) {
        // 409 is two writers at once, and asked again by the session: it does not tell who won.
        if (!ifAbsent || readFailure(error).status !== 412) throw error;
        alive();
        return attempts === 1 ? null : await ownWrite(api, attemptSignal);
      }
    },
    signal,
  );
}

/** Removes an object; an absent one is fine. */
export async function removeObject(
  session: S3Session,
  key: string,
  signal: AbortSignal,
): Promise<void> {
  const { bucket, prefix } = session.location;
  await session.call(
    { right: 's3:DeleteObject', key },
    async ({ sdk, client }, attemptSignal) => {
      const command = new sdk.DeleteObjectCommand({ Bucket: bucket, Key: prefix + key });
      try {
        await abortable(client.send(command, { abortSignal: attemptSignal }), attemptSignal);
      } catch (error) {
        const { status, code } = readFailure(error);
        if (status !== 404 || code === 'NoSuchBucket') throw error;
      }
    },
    signal,
  );
}
