import { ServeError } from '../errors.ts';
import type { ObjectInfo } from './object-source.ts';
import { PassingFailure } from './web-attempt.ts';

export interface AskedRange {
  /** Of the first byte asked for. */
  readonly offset: number;
  /** The object as it was when first seen. */
  readonly info: ObjectInfo;
  readonly ownEtag: string | null;
}

const CONTENT_RANGE = /^bytes (\d+)-(\d+)\/(\d+|\*)$/;

/**
 * Checks that an answer is the range asked for and fills `target` with it.
 * @param what the object, for messages
 * @param received is told of every chunk's bytes as they land, so that a retry goes on after them
 * @throws ServeError weights_unavailable: changed object, no support for ranges, wrong range;
 * PassingFailure: fewer bytes than announced
 */
export async function receiveRange(
  what: string,
  response: Response,
  asked: AskedRange,
  target: Uint8Array,
  received: (count: number) => void,
): Promise<void> {
  checkUnchanged(what, response, asked);
  checkRange(what, response, asked, target.length);
  let done = 0;
  for await (const chunk of chunksOf(response)) {
    if (done + chunk.length > target.length) {
      throw new ServeError('weights_unavailable', `${what}: the server sent more than asked for`);
    }
    target.set(chunk, done);
    done += chunk.length;
    received(chunk.length);
  }
  if (done < target.length) {
    throw new PassingFailure(`the answer ended after ${done} of ${target.length} bytes`);
  }
}

function checkUnchanged(what: string, response: Response, { info, ownEtag }: AskedRange): void {
  const etag = response.headers.get('etag');
  const total = CONTENT_RANGE.exec(response.headers.get('content-range') ?? '')?.[3];
  const isOther =
    response.status === 412 ||
    response.status === 416 ||
    (ownEtag !== null && etag !== null && etag !== ownEtag) ||
    (total !== undefined && total !== '*' && Number(total) !== info.sizeBytes);
  if (!isOther) return;
  throw new ServeError(
    'weights_unavailable',
    `${what} changed while it was read; start again to load the new version`,
  );
}

function checkRange(
  what: string,
  response: Response,
  { offset, info }: AskedRange,
  length: number,
): void {
  if (response.status === 200) {
    // The whole object is fine where the whole object was asked for.
    if (offset === 0 && length === info.sizeBytes) return;
    throw new ServeError(
      'weights_unavailable',
      `${what}: the server ignores range requests; serve the model from one that supports them`,
    );
  }
  const [, first, last] = CONTENT_RANGE.exec(response.headers.get('content-range') ?? '') ?? [];
  // A server may send less than asked for; the rest is then asked for again.
  const fits =
    response.status === 206 && Number(first) === offset && Number(last) < offset + length;
  if (fits) return;
  throw new ServeError(
    'weights_unavailable',
    `${what}: asked for ${length} bytes from ${offset}, the server answered ${response.status} with ${response.headers.get('content-range') ?? 'no range'}`,
  );
}

async function* chunksOf(response: Response): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel();
  }
}
