import { ServeError } from '../../src/errors.ts';
import { loadKoffi } from './koffi.ts';

/**
 * Page-aligned, zeroed memory outside the JavaScript heap. Native code may hold its address for as
 * long as it lives: no garbage collector moves or frees it.
 */
export interface NativeMemory {
  readonly address: bigint;
  readonly sizeBytes: number;
  /** A view of all bytes. Must not be touched after `free`: the pages are gone. */
  readonly buffer: ArrayBuffer;
  /** Gives the whole pages inside [offset, offset + length) back to the system; they read as zeros. */
  discard(offset: number, length: number): void;
  free(): void;
}

export const PAGE_BYTES = 4096;

const PROT_READ_WRITE = 3;
const MAP_PRIVATE = 2;
const MADV_DONTNEED = 4;
const MADV_HUGEPAGE = 14;

interface Libc {
  mmap(
    address: null,
    length: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number,
  ): bigint;
  munmap(address: bigint, length: number): number;
  madvise(address: bigint, length: number, advice: number): number;
  setenv(name: string, value: string, overwrite: number): number;
  /** Held for good, as in ort-api.ts. */
  readonly handle: unknown;
  readonly mapAnonymous: number;
  readonly canDiscard: boolean;
}

let libc: Libc | undefined;

function openLibc(): Libc {
  if (libc !== undefined) return libc;
  const koffi = loadKoffi();
  const isDarwin = process.platform === 'darwin';
  const library = koffi.load(isDarwin ? 'libSystem.dylib' : 'libc.so.6');
  libc = {
    handle: library,
    mmap: library.func('mmap', 'void *', ['void *', 'size_t', 'int', 'int', 'int', 'int64_t']),
    munmap: library.func('munmap', 'int', ['void *', 'size_t']),
    madvise: library.func('madvise', 'int', ['void *', 'size_t', 'int']),
    setenv: library.func('setenv', 'int', ['str', 'str', 'int']),
    mapAnonymous: isDarwin ? 0x1000 : 0x20,
    // Only Linux promises zeros, and the memory back, after MADV_DONTNEED.
    canDiscard: process.platform === 'linux',
  };
  return libc;
}

/** Sets what native code reads of the environment: in a worker thread `process.env` is only a copy. */
export function setNativeEnvironment(name: string, value: string): void {
  openLibc().setenv(name, value, 1);
}

/** @throws ServeError out_of_memory */
export function allocateNative(
  sizeBytes: number,
  options: { hugePages?: boolean } = {},
): NativeMemory {
  const c = openLibc();
  const length = Math.max(PAGE_BYTES, Math.ceil(sizeBytes / PAGE_BYTES) * PAGE_BYTES);
  const address = c.mmap(null, length, PROT_READ_WRITE, MAP_PRIVATE | c.mapAnonymous, -1, 0);
  if (address === 0n || BigInt.asIntN(64, address) === -1n) {
    throw new ServeError(
      'out_of_memory',
      `The system refused ${(length / 2 ** 20).toFixed(0)} MiB of memory. Use a smaller context, fewer slots or a smaller model.`,
    );
  }
  if (options.hugePages === true && c.canDiscard) c.madvise(address, length, MADV_HUGEPAGE);
  const buffer = loadKoffi().view(address, length);
  let isFreed = false;
  return {
    address,
    sizeBytes: length,
    buffer,
    discard(offset, size) {
      if (isFreed || !c.canDiscard) return;
      const from = Math.ceil(offset / PAGE_BYTES) * PAGE_BYTES;
      const to = Math.floor((offset + size) / PAGE_BYTES) * PAGE_BYTES;
      if (to > from) c.madvise(address + BigInt(from), to - from, MADV_DONTNEED);
    },
    free() {
      if (isFreed) return;
      isFreed = true;
      c.munmap(address, length);
    },
  };
}
