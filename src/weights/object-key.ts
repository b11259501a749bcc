import { ServeError } from '../errors.ts';

/**
 * Refuses keys that could leave the source: names may come from a downloaded index file.
 * @returns `key`, a relative path of plain names joined by `/`
 * @throws ServeError invalid_checkpoint
 */
export function checkObjectKey(key: string): string {
  const isPlain = key
    .split('/')
    .every((name) => name !== '' && name !== '.' && name !== '..' && !UNSAFE.test(name));
  if (isPlain) return key;
  throw new ServeError(
    'invalid_checkpoint',
    `${JSON.stringify(key)} is not a plain file name inside the model's folder`,
  );
}

/** Backslashes and colons mean something in Windows paths; control characters never belong. */
// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const UNSAFE = /[\\:\u0000-\u001F]/;
