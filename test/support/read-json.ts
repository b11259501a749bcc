import { readFileSync } from 'node:fs';

/** A JSON file, by its path from the repository's root. */
export function readJsonFile(path: string): unknown {
  return JSON.parse(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8'));
}
