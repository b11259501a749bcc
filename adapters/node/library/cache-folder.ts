import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where this user's things lie that can be made again: `GEMLET_CACHE_DIR`, else the usual place. */
export function cacheFolder(): string {
  const base = process.env['GEMLET_CACHE_DIR'] ?? process.env['XDG_CACHE_HOME'];
  return base === undefined || base === ''
    ? join(homedir(), '.cache', 'gemlet')
    : join(base, 'gemlet');
}
