import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '../read-options.ts';
import { packageFolder } from '../version.ts';

export const CUDA_NOTE =
  'CUDA is not measured, and gemlet computes on the CPU so far: the GPU is paid for and idle.';

/** Requests that wait inside a replica, so that the platform does not send them to another. */
export function queueOf(slots: number): number {
  return slots * 3;
}

/** Reads a file of infra/, from a checkout and from the package alike. */
export function infraText(path: string): string {
  return readFileSync(infraPath(path), 'utf8');
}

/** @throws UsageError when the package lies elsewhere than its files */
export function infraPath(path: string): string {
  const file = join(packageRoot(), 'infra', path);
  if (!existsSync(file)) throw new UsageError(`infra/${path} is missing from the package.`);
  return file;
}

/** @throws UsageError */
export function packageRoot(): string {
  const folder = packageFolder();
  if (folder === null) throw new UsageError("gemlet's own files cannot be found.");
  return folder;
}

/** Whether gemlet runs from its repository, and not as the package of it. */
export function isCheckout(): boolean {
  return existsSync(join(packageRoot(), 'tsconfig.json'));
}

/** Arguments of a command: texts of several, and words as they are. */
export function words(...parts: readonly (string | readonly string[])[]): string[] {
  return parts.flatMap((part) => (typeof part === 'string' ? part.split(' ') : part));
}
