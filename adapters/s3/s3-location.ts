import { ServeError } from '../../src/errors.ts';
import { checkObjectKey } from '../../src/weights/object-key.ts';

export interface S3Location {
  readonly bucket: string;
  /** Goes before every key: empty, or ends with `/`. */
  readonly prefix: string;
  /** `s3://bucket/prefix`, for messages. */
  readonly name: string;
}

/** Bucket names of AWS; other providers take fewer, old ones also had capitals and underscores. */
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$/;

/**
 * Understands `s3://bucket` and `s3://bucket/prefix`, with or without a slash at the end.
 * @throws ServeError invalid_url; what was given is not repeated, it may hold a secret
 */
export function parseS3Location(url: string): S3Location {
  const [, bucket = '', path = ''] = /^s3:\/\/([^/]*)\/?(.*)$/s.exec(url) ?? [];
  if (bucket.includes('@')) {
    throw invalid(
      'it must not hold keys or passwords; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead',
    );
  }
  if (!BUCKET.test(bucket)) throw invalid('it is written s3://bucket or s3://bucket/folder');
  if (/[?#]/.test(path)) {
    throw invalid('it must not have a query; the region is set with AWS_REGION');
  }
  const folder = path.replace(/\/$/, '');
  if (folder === '') return { bucket, prefix: '', name: `s3://${bucket}` };
  try {
    checkObjectKey(folder);
  } catch (error) {
    throw invalid('its folder must be plain names joined by single slashes', error);
  }
  return { bucket, prefix: `${folder}/`, name: `s3://${bucket}/${folder}` };
}

function invalid(problem: string, cause?: unknown): ServeError {
  return new ServeError('invalid_url', `This is not a place in S3: ${problem}`, { cause });
}
