import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';

const BLOCK_BYTES = 512;

/**
 * Compares an archive with what it must be.
 * @param integrity as in a lockfile: `sha512-` and the hash in base64
 * @throws Error when it is another
 */
export async function checkIntegrity(
  archive: string,
  integrity: string,
  signal?: AbortSignal,
): Promise<void> {
  const hash = createHash('sha512');
  await pipeline(createReadStream(archive), hash, { signal });
  const found = `sha512-${hash.digest('base64')}`;
  if (found !== integrity) {
    throw new Error(`the archive is not the one gemlet was made with (${found})`);
  }
}

/**
 * Writes the files that lie directly in one folder of a package's archive, a gzipped tar. Everything
 * else in it is passed over: other folders, links, addons for Node.js.
 * @param inside folder in the archive, without a slash at its end
 * @throws Error when the archive ends too early
 */
export async function unpackFolder(
  archive: string,
  inside: string,
  target: string,
  signal?: AbortSignal,
): Promise<void> {
  const writing: { file: FileHandle | null } = { file: null };
  let header = Buffer.alloc(0);
  /** Bytes of the entry's content, and of what fills its last block, that are still to come. */
  let contentBytes = 0;
  let fillBytes = 0;
  /** Takes what it can use of a piece and gives the rest. */
  const take = async (bytes: Buffer): Promise<Buffer> => {
    if (contentBytes > 0) {
      const part = bytes.subarray(0, contentBytes);
      await writing.file?.writeFile(part);
      contentBytes -= part.length;
      return bytes.subarray(part.length);
    }
    if (fillBytes > 0) {
      const part = bytes.subarray(0, fillBytes);
      fillBytes -= part.length;
      return bytes.subarray(part.length);
    }
    await writing.file?.close();
    writing.file = null;
    const part = bytes.subarray(0, BLOCK_BYTES - header.length);
    header = Buffer.concat([header, part]);
    if (header.length === BLOCK_BYTES) {
      const entry = readHeader(header);
      header = Buffer.alloc(0);
      contentBytes = entry.sizeBytes;
      fillBytes = (BLOCK_BYTES - (entry.sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES;
      const name = wantedName(entry, inside);
      if (name !== null) writing.file = await open(join(target, name), 'wx');
    }
    return bytes.subarray(part.length);
  };
  try {
    await pipeline(
      createReadStream(archive),
      createGunzip(),
      async (pieces: AsyncIterable<Buffer>) => {
        for await (const piece of pieces) {
          for (let rest = piece; rest.length > 0;) rest = await take(rest);
        }
      },
      { signal },
    );
  } finally {
    await writing.file?.close();
  }
  if (contentBytes > 0) throw new Error('the archive ends within a file');
}

interface Entry {
  readonly path: string;
  readonly isFile: boolean;
  readonly sizeBytes: number;
}

/** Reads a header of POSIX ustar; the blocks of zeros at the end read as an empty entry. */
function readHeader(header: Buffer): Entry {
  const text = (from: number, length: number): string => {
    const field = header.subarray(from, from + length);
    const end = field.indexOf(0);
    return field.toString('utf8', 0, end < 0 ? length : end);
  };
  const prefix = text(345, 155);
  const name = text(0, 100);
  return {
    path: prefix === '' ? name : `${prefix}/${name}`,
    isFile: header[156] === 0 || header[156] === '0'.charCodeAt(0),
    sizeBytes: Number.parseInt(text(124, 12).trim() || '0', 8),
  };
}

function wantedName({ path, isFile }: Entry, inside: string): string | null {
  if (!isFile || !path.startsWith(`${inside}/`)) return null;
  const name = path.slice(inside.length + 1);
  return /^[\w.-]+$/.test(name) && !name.startsWith('.') && !name.endsWith('.node') ? name : null;
}
