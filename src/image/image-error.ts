import { ServeError } from '../errors.ts';

/** A file that is not what it claims to be, or ends too early. */
export function invalidImage(problem: string, cause?: unknown): ServeError {
  return new ServeError('invalid_image', `The image cannot be read: ${problem}`, { cause });
}

/** A whole file in one of the formats we read, but with a feature that we do not. */
export function unsupportedImage(what: string, instead: string): ServeError {
  return new ServeError(
    'invalid_image',
    `The image is ${what}, which is not supported: ${instead}`,
  );
}

/** The same error, naming the request field the image came from. */
export function withParam(error: unknown, param: string): unknown {
  if (!ServeError.is(error) || error.param !== null) return error;
  return new ServeError(error.code, error.message, { param, cause: error.cause });
}
