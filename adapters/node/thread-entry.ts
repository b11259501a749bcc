/**
 * The file that a thread runs, by its path in this folder without its ending. Threads run compiled code: from
 * sources, as under a test runner, that of the last build.
 */
export function threadEntry(name: string): URL {
  const folder = import.meta.url.endsWith('.ts') ? '../../dist/adapters/node/' : './';
  return new URL(`${folder}${name}.js`, import.meta.url);
}
