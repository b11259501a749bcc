import type { Readable } from 'node:stream';
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3';
import { ServeError } from '../../src/errors.ts';
import { abortable } from '../../src/lib/abortable.ts';
import type { ObjectInfo } from '../../src/weights/object-source.ts';
import { PassingFailure } from '../../src/weights/web-attempt.ts';
import type { S3Api } from './s3-client.ts';
import { readFailure } from './s3-fault.ts';
import { checkAnswer, fillFrom } from './s3-range.ts';
import type { S3Session } from './s3-session.ts';

export interface S3Read {
  readonly key: string;
  /** The object as it was when first seen: bytes of another version are refused. */
  readonly info: ObjectInfo;
  readonly offset: number;
  /** Called when the object turns out to be another, before the error is thrown. */
  readonly onChanged: () => void;
}

/**
 * Fills `target` from `offset`. A failed attempt is followed by one for the rest.
 * @throws ServeError weights_unavailable; the signal's reason on abort
 */
export async function readObject(
  session: S3Session,
  { key, info, offset, onChanged }: S3Read,
  target: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  const { bucket, prefix, name } = session.location;
  const what = `${name}: ${key}`;
  let done = 0;

  const changed = (): ServeError => {
    onChanged();
    return new ServeError(
      'weights_unavailable',
      `${what} changed while it was read; start again to load the new version`,
    );
  };

  const ask = async (
    { sdk, client }: S3Api,
    asking: AbortSignal,
  ): Promise<GetObjectCommandOutput> => {
    const command = new sdk.GetObjectCommand({
      Bucket: bucket,
      Key: prefix + key,
      Range: `bytes=${offset + done}-${offset + target.length - 1}`,
      // A weak etag would never match.
      ...(info.etag?.startsWith('"') === true ? { IfMatch: info.etag } : {}),
    });
    const sent = client.send(command, { abortSignal: asking });
    void discardIfLate(sent, asking);
    try {
      return await abortable(sent, asking);
    } catch (error) {
      const { status, code } = readFailure(error);
      const isGone = status === 404 && code !== 'NoSuchBucket';
      throw isGone || status === 412 || status === 416 ? changed() : error;
    }
  };

  await session.call(
    { right: 's3:GetObject', key },
    async (api, attemptSignal, alive) => {
      const output = await ask(api, attemptSignal);
      alive();
      try {
        if (output.ETag !== undefined && info.etag !== null && output.ETag !== info.etag) {
          throw changed();
        }
        const rest = { what, offset: offset + done, info };
        const count = checkAnswer(output, rest, target.length - done);
        const room = target.subarray(done, done + count);
        await fillFrom(output.Body as Readable, room, attemptSignal, (size) => {
          done += size;
          alive();
        });
      } catch (error) {
        discard(output);
        throw error;
      }
      if (done < target.length) throw new PassingFailure('the server sent less than asked for');
    },
    signal,
    () => done,
  );
}

/** An answer that comes after an abort has no reader. */
export async function discardIfLate(
  sent: Promise<GetObjectCommandOutput>,
  signal: AbortSignal,
): Promise<void> {
  const output = await sent.catch(() => null);
  if (output !== null && signal.aborted) discard(output);
}

/** Ends a transfer that nobody waits for. */
export function discard({ Body }: GetObjectCommandOutput): void {
  const body = Body as Readable | undefined;
  body?.on('error', () => undefined).destroy();
}
