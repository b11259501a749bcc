import type { ListObjectsV2CommandOutput } from '@aws-sdk/client-s3';
import { ServeError } from '../../src/errors.ts';
import { abortable } from '../../src/lib/abortable.ts';
import { isObjectKey } from '../../src/weights/object-store.ts';
import type { ListedObject } from '../../src/weights/object-store.ts';
import type { S3Session } from './s3-session.ts';

/**
 * Objects whose key begins with `prefix`, a page of up to 1,000 at a time.
 * @param delimiter `/` leaves subfolders out, empty takes them in
 * @throws ServeError weights_unavailable; the signal's reason on abort
 */
export async function* listObjects(
  session: S3Session,
  prefix: string,
  delimiter: '/' | '',
  signal: AbortSignal,
): AsyncGenerator<ListedObject> {
  const { location } = session;
  let token: string | undefined;
  do {
    const continuation = token === undefined ? {} : { ContinuationToken: token };
    const page: ListObjectsV2CommandOutput = await session.call(
      { right: 's3:ListBucket', key: prefix === '' ? 'its list' : `${prefix}*` },
      ({ sdk, client }, attemptSignal) => {
        const command = new sdk.ListObjectsV2Command({
          Bucket: location.bucket,
          Prefix: location.prefix + prefix,
          ...(delimiter === '' ? {} : { Delimiter: delimiter }),
          ...continuation,
        });
        return abortable(client.send(command, { abortSignal: attemptSignal }), attemptSignal);
      },
      signal,
    );
    for (const { Key = '', Size = 0, LastModified } of page.Contents ?? []) {
      const key = Key.slice(location.prefix.length);
      const time = LastModified === undefined ? {} : { modifiedMs: LastModified.getTime() };
      if (isObjectKey(key)) yield { key, sizeBytes: Size, ...time };
    }
    const next = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    if (page.IsTruncated === true && (next === undefined || next === token)) {
      throw new ServeError(
        'weights_unavailable',
        `${location.name}: the server's list breaks off; use one with ListObjectsV2`,
      );
    }
    token = next;
  } while (token !== undefined);
}
