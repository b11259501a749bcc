import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  findLibrary,
  libraryFolder,
  libraryMissing,
  libraryName,
  ORT_VERSION,
} from '../../onnx/ort-library.ts';
import { cacheFolder } from './cache-folder.ts';
import { findNpm, packWithNpm, type NpmCommand } from './npm.ts';
import { checkIntegrity, unpackFolder } from './unpack.ts';

/** The hash of onnxruntime-node's archive, as in package-lock.json. */
export const ORT_INTEGRITY =
  'sha512-twhs1C2C/BFkz1yc5OY0KIU2GUq6DURO7hD4bx5Q2Qy3nAMJwRXW8xU3NVczE29VA9lolLOYepoD8fjTGOfIqw==';

export interface LibraryOptions {
  readonly signal?: AbortSignal | undefined;
  /** Default: the installed package's. */
  readonly installed?: string | null;
  /** Default: the user's cache folder. */
  readonly folder?: string;
  /** Default: false where `GEMLET_ORT_FETCH` is 0. */
  readonly mayFetch?: boolean;
  readonly npm?: NpmCommand;
  readonly integrity?: string;
  /** Gets what a person who waits wants to know; default standard error. */
  readonly tell?: (line: string) => void;
}

/**
 * Path of ONNX Runtime's library. Where the package `onnxruntime-node` is not installed (npm drops it
 * when its install script fails, and says nothing), its archive is fetched by npm, compared with the
 * hash that gemlet was made with, and the library kept in the user's cache folder. None of its code
 * runs. Processes that do so at once each fetch; the first to finish wins.
 * @throws ServeError backend_unavailable; the signal's reason on abort
 */
export async function provideLibrary(options: LibraryOptions = {}): Promise<string> {
  const { signal, installed = findLibrary(), folder = cacheFolder() } = options;
  if (installed !== null) return installed;
  const kept = join(folder, `onnxruntime-${ORT_VERSION}-${process.platform}-${process.arch}`);
  const library = join(kept, libraryName());
  if (existsSync(library)) return library;
  if (!(options.mayFetch ?? mayFetchByEnvironment())) {
    throw libraryMissing('GEMLET_ORT_FETCH forbids to fetch its library. ');
  }
  try {
    await fetchLibrary(folder, kept, options);
  } catch (cause) {
    signal?.throwIfAborted();
    const why = cause instanceof Error ? cause.message : String(cause);
    throw libraryMissing(
      `Its library could not be fetched into ${folder} (GEMLET_CACHE_DIR names another folder): ${why}. `,
      cause,
    );
  }
  return library;
}

async function fetchLibrary(folder: string, kept: string, options: LibraryOptions): Promise<void> {
  const { signal, npm = findNpm(), integrity = ORT_INTEGRITY, tell = tellUser } = options;
  await mkdir(folder, { recursive: true });
  const work = await mkdtemp(join(folder, 'fetching-'));
  try {
    tell(`npm did not install ONNX Runtime ${ORT_VERSION}: fetching it (114 MB, once) ...`);
    await packWithNpm(npm, `onnxruntime-node@${ORT_VERSION}`, work, signal);
    const archive = join(work, `onnxruntime-node-${ORT_VERSION}.tgz`);
    await checkIntegrity(archive, integrity, signal);
    const unpacked = join(work, 'library');
    await mkdir(unpacked);
    await unpackFolder(archive, `package/${libraryFolder()}`, unpacked, signal);
    if (!existsSync(join(unpacked, libraryName()))) {
      throw new Error(`the archive has no ${libraryFolder()}/${libraryName()}`);
    }
    await rename(unpacked, kept).catch((error: unknown) => {
      // Another process was faster.
      if (!existsSync(join(kept, libraryName()))) throw error;
    });
    tell(`ONNX Runtime ${ORT_VERSION} is kept in ${kept}.`);
  } finally {
    // npm may still be writing when it is ended.
    await rm(work, { recursive: true, force: true, maxRetries: 3 });
  }
}

function mayFetchByEnvironment(): boolean {
  return ['', '1'].includes(process.env['GEMLET_ORT_FETCH'] ?? '');
}

function tellUser(line: string): void {
  process.stderr.write(`gemlet: ${line}\n`);
}
