// @ts-check
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';

/**
 * Deletes compiled files whose source is gone: `tsc -b` leaves them behind, and the package would
 * ship them.
 * @param {string} root folder that holds dist/ and the sources
 * @returns {string[]} what was deleted, relative to `root`
 */
export function pruneDist(root) {
  /** @type {string[]} */
  const removed = [];
  for (const project of ['src', 'adapters', 'infra']) {
    const folder = join(root, 'dist', project);
    if (!existsSync(folder)) continue;
    for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (!entry.isFile() || hasSource(root, relative(join(root, 'dist'), path))) continue;
      rmSync(path);
      removed.push(relative(root, path));
    }
  }
  return removed;
}

/**
 * @param {string} root
 * @param {string} path relative to dist
 */
function hasSource(root, path) {
  const source = path.replace(/(\.d)?\.ts$|\.js$/, '.ts').replace(/\.d\.mts$/, '.mjs');
  return existsSync(join(root, source));
}
