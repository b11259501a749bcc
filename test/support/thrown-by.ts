import { ServeError } from '../../src/errors.ts';

/** The ServeError that `action` throws. */
export function thrownBy(action: () => unknown): ServeError {
  try {
    action();
  } catch (error) {
    if (ServeError.is(error)) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

/** The ServeError that a promise rejects with. */
export async function rejectedBy(promise: Promise<unknown>): Promise<ServeError> {
  try {
    await promise;
  } catch (error) {
    if (ServeError.is(error)) return error;
    throw error;
  }
  throw new Error('the promise was fulfilled');
}
