import { readFileSync } from 'node:fs';
import { checkKeys, isHashedKey } from '../../../src/http/doors/key-check.ts';
import { UsageError } from '../read-options.ts';

/** Of keys where other machines can connect; 96 bits when they are drawn at random. */
export const MIN_KEY_LENGTH = 16;

/**
 * One key a line; empty lines and those that begin with # are left out.
 * @throws UsageError that names the file and no key
 */
export function readKeyFile(path: string): readonly string[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError(`The keys of ${path} cannot be read: ${why}`, { cause });
  }
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const keys = lines.filter((line) => line !== '' && !line.startsWith('#'));
  if (keys.length === 0) throw new UsageError(`${path} holds no key; write one a line.`);
  return keys;
}

/**
 * @param where the keys came from, for messages
 * @param isPublic whether other machines can connect
 * @throws UsageError
 */
export function checkKeyList(keys: readonly string[], where: string, isPublic: boolean): void {
  if (keys.some((key) => key.trim() === '')) throw new UsageError(`${where} must not be empty.`);
  try {
    checkKeys(keys, where);
  } catch (cause) {
    throw new UsageError(`${cause instanceof Error ? cause.message : String(cause)}.`, { cause });
  }
  if (isPublic && keys.some(isShort)) {
    throw new UsageError(
      `${where} must have ${MIN_KEY_LENGTH} characters or more where other machines can connect; "openssl rand -hex 24" makes one.`,
    );
  }
}

/** Whether a key can be guessed, as far as its length tells. */
export function isShort(key: string): boolean {
  return key.length < MIN_KEY_LENGTH && !isHashedKey(key);
}
