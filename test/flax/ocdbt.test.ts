import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { unzstd } from '../../adapters/node/zstd.ts';
import { createFolderSource } from '../../adapters/node/folder-source.ts';
import { crc32c } from '../../src/flax/crc32c.ts';
import { listOcdbtKeys } from '../../src/flax/ocdbt-keys.ts';
import type { StoredValue } from '../../src/flax/ocdbt-node.ts';
import { ServeError } from '../../src/errors.ts';
import type { ObjectSource } from '../../src/weights/object-source.ts';
import { memorySource } from '../support/memory-source.ts';
import { envelope, IDENTITY, manifestBody } from '../support/orbax/ocdbt-encoding.ts';
import { writeOcdbt, type OcdbtOptions } from '../support/orbax/ocdbt-writer.ts';
import { readJsonFile } from '../support/read-json.ts';
import { createSeededRandom, forSeeds } from '../support/seeded-random.ts';
import { rejectedBy } from '../support/thrown-by.ts';
import { bombZstd } from '../support/zstd-frame.ts';

const PATH = new TextEncoder().encode('d/bbbb0000bbbb0000bbbb0000bbbb0000');
const GOLDEN = new URL('../golden/', import.meta.url);
/** SHA-256 of each value, as TensorStore read it. */
const TENSORSTORE_VALUES = readJsonFile('test/golden/ocdbt/values.json') as Readonly<
  Record<string, Readonly<Record<string, string>>>
>;

const VALUE_FILES = ['d/aaaa0000', 'd/aaab0000', 'd/cccc0000'];

async function valueOf(source: ObjectSource, value: StoredValue): Promise<Uint8Array> {
  if (value.type === 'inline') return value.bytes;
  const bytes = new Uint8Array(value.sizeBytes);
  await source.read(value.key, value.offset, bytes);
  return bytes;
}

async function readAll(source: ObjectSource): Promise<Record<string, Uint8Array>> {
  const keys = await listOcdbtKeys({ source, unzstd });
  const found: Record<string, Uint8Array> = {};
  for (const [key, value] of keys ?? []) found[key] = await valueOf(source, value);
  return found;
}

/** Numbered manifests are found by listing. */
function listedSource(files: Readonly<Record<string, Uint8Array>>): ObjectSource {
  return { ...memorySource(files), list: async () => Object.keys(files) };
}

function someValues(seed: number, count: number): Record<string, Uint8Array> {
  const random = createSeededRandom(seed);
  const values: Record<string, Uint8Array> = {};
  while (Object.keys(values).length < count) {
    const parts = Array.from({ length: random.integer(1, 4) }, () =>
      random.pick(['layer', 'layer_1', 'layer_10', 'attn', 'w', 'ä', '0', '.zarray']),
    );
    const size = random.pick([0, 1, 50, 300]);
    values[`${parts.join('/')}/${random.integer(0, 99)}`] = Uint8Array.from({ length: size }, () =>
      random.integer(0, 255),
    );
  }
  return values;
}

/** A tree whose nodes are changed and then closed by a right checksum. */
function spoilt(change: NonNullable<OcdbtOptions['change']>) {
  return rejectedBy(
    readAll(
      memorySource(writeOcdbt(someValues(7, 30), { fanout: 4, isCompressed: false, change })),
    ),
  );
}

describe('CRC-32C', () => {
  it('gives the check value of its definition', () => {
    expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe306_9283);
  });
});

describe('an OCDBT database', () => {
  it('written by Orbax is read whole', async () => {
    const source = createFolderSource(new URL('orbax_tiny', GOLDEN).pathname);
    const found = await readAll(source);
    await source.close();
    const arrays = JSON.parse(readFileSync(new URL('orbax_tiny.json', GOLDEN), 'utf8')) as object;
    const keys = Object.keys(arrays).flatMap((name) => [`${name}/.zarray`]);
    expect(Object.keys(found).filter((key) => key.endsWith('.zarray'))).toEqual(keys.toSorted());
    const one = found['transformer/final_norm.scale/.zarray'];
    expect(JSON.parse(new TextDecoder().decode(one))).toMatchObject({ shape: [32], dtype: '<f4' });
  });

  it.each(['interior', 'high', 'numbered'])(
    'written by TensorStore over an empty version is read whole: %s',
    async (name) => {
      const source = createFolderSource(new URL(`ocdbt/${name}`, GOLDEN).pathname);
      const found = await readAll(source);
      await source.close();
      const hashes = Object.entries(found).map(([key, value]) => [
        key,
        createHash('sha256').update(value).digest('hex'),
      ]);
      expect(Object.fromEntries(hashes)).toEqual(TENSORSTORE_VALUES[name]);
    },
  );

  it('of any height gives back what was written', async () => {
    await forSeeds(60, async (random, seed) => {
      const values = someValues(seed, random.integer(1, 120));
      const fanout = random.integer(2, 9);
      const isCompressed = random.chance(0.5);
      const count = Object.keys(values).length;
      const files = writeOcdbt(values, {
        fanout,
        isCompressed,
        inlineBytes: random.pick([0, 100]),
        isNumbered: random.chance(0.3),
        olderCounts: Array.from({ length: random.integer(0, 3) }, () => random.integer(0, count)),
        valueFiles: VALUE_FILES.slice(0, random.integer(0, 3)),
        base: random.pick(['', 'ocdbt.process_0/', 'ocdbt.process_12/']),
      });
      const found = await readAll(listedSource(files));
      expect(found).toEqual(values);
    });
  });

  it.each([
    ['interior', [5, 3], 16, false],
    ['numbered', [5, 2], 100, true],
  ] as const)(
    'is written by the generator of these tests to the byte as TensorStore does: %s',
    async (name, fanout, inlineBytes, isNumbered) => {
      const folder = new URL(`ocdbt/${name}/`, GOLDEN);
      const written = Object.fromEntries(
        readdirSync(folder, { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile())
          .map(({ parentPath, name: file }) => join(parentPath, file))
          .map((path) => [relative(folder.pathname, path), new Uint8Array(readFileSync(path))]),
      );
      const values = await readAll(listedSource(written));
      const last = written[isNumbered ? 'manifest.0000000000000002' : 'manifest.ocdbt'];
      if (last === undefined) throw new RangeError('no manifest');
      // Two times and the count of older nodes end it, before its checksum.
      const times = last.length - 4 - 1 - 16;
      const made = writeOcdbt(values, {
        fanout,
        inlineBytes,
        isNumbered,
        isCompressed: false,
        base: '',
        valueFiles: [],
        nodeFile: Object.keys(written).find((file) => file.startsWith('d/')) ?? '',
        identity: {
          id: last.subarray(14, 30),
          commitTimes: [last.subarray(times, times + 8), last.subarray(times + 8, times + 16)],
          maxNodeBytes: 400,
        },
      });
      expect(made).toEqual(written);
    },
  );

  it('whose newest version holds nothing is refused', async () => {
    const error = await rejectedBy(
      listOcdbtKeys({ source: memorySource(writeOcdbt({}, { fanout: 4 })), unzstd }),
    );
    expect(error.message).toContain('its newest version holds nothing');
  });

  it('lists no keys where there is none', async () => {
    expect(await listOcdbtKeys({ source: memorySource({}), unzstd })).toBeNull();
  });

  it('is refused when any byte of its index differs', async () => {
    const values = someValues(5, 40);
    const files = writeOcdbt(values, { fanout: 4, isCompressed: true });
    await forSeeds(300, async (random) => {
      const name = random.pick(Object.keys(files).filter((key) => !key.includes('aaaa')));
      const bytes = (files[name] as Uint8Array).slice();
      const at = random.integer(0, bytes.length - 1);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random.integer(0, 7));
      const error = await rejectedBy(readAll(memorySource({ ...files, [name]: bytes })));
      expect(error.code).toBe('invalid_checkpoint');
      expect(error.message).toContain(name);
    });
  });

  it('is refused when its files end early', async () => {
    const files = writeOcdbt(someValues(6, 40), { fanout: 4 });
    for (const name of Object.keys(files).filter((key) => !key.includes('aaaa'))) {
      const cut = (files[name] as Uint8Array).subarray(0, -1);
      await expect(readAll(memorySource({ ...files, [name]: cut }))).rejects.toThrow(ServeError);
    }
  });

  it('is refused when a node says more than it holds', async () => {
    const error = await spoilt((body, height) => {
      if (height === 0) body.u8(1);
    });
    expect(error.message).toContain('follow its end');
  });

  it('never goes round in circles: every step is a level down', async () => {
    // One child, "a", in file 0, which is this very node: it says that it is a level up.
    const body = Uint8Array.from([1, 1, 34, 0, ...PATH, 1, 1, 0, 0x61, 0, 0, 0, 1, 0, 0]);
    body[body.length - 4] = envelope(0x0cdb_20de, body, false).length;
    const circle = envelope(0x0cdb_20de, body, false);
    const files = writeOcdbt({ a: new Uint8Array(300) }, { fanout: 2, isCompressed: false });
    const { manifest, name } = rootOf(circle, 1);
    const source = memorySource({ ...files, 'manifest.ocdbt': manifest, [name]: circle });
    const error = await rejectedBy(readAll(source));
    expect(error.message).toContain('it lies 1 levels above the leaves, not 0');
  });

  it('refuses paths that lead out of the checkpoint', async () => {
    const files = writeOcdbt(someValues(8, 3), { fanout: 4, isCompressed: false });
    const manifest = files['manifest.ocdbt'] as Uint8Array;
    // Of the same length, so that only the checksum is to be made again.
    const spoiled = Buffer.from(
      Buffer.from(manifest.subarray(14, -4))
        .toString('latin1')
        .replace('ocdbt.process_0/d', '../../../../../etc'.slice(0, 17)),
      'latin1',
    );
    const error = await rejectedBy(
      readAll(memorySource({ ...files, 'manifest.ocdbt': envelope(0x0cdb_3a2a, spoiled, false) })),
    );
    expect(error.message).toContain('is not a plain file name');
  });

  it('refuses counts and sizes that cannot be, without making room for them', async () => {
    const huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
    const nodes: readonly (readonly number[])[] = [
      [0, ...huge],
      [0, 0, ...huge],
      [0, 1, 1, 0, 0x61, ...huge],
      [0, 1, ...huge, 0, 0x61, 0],
    ];
    for (const body of nodes) {
      const files = writeOcdbt({ a: new Uint8Array(300) }, { fanout: 2, isCompressed: false });
      const node = envelope(0x0cdb_20de, Uint8Array.from(body), false);
      const { manifest, name } = rootOf(node);
      const source = memorySource({ ...files, 'manifest.ocdbt': manifest, [name]: node });
      expect((await rejectedBy(readAll(source))).code).toBe('invalid_checkpoint');
    }
  });

  it('refuses an index that unpacks to far more than it can be', async () => {
    const files = writeOcdbt({ a: new Uint8Array(300) }, { fanout: 2, isCompressed: false });
    const plain = envelope(0x0cdb_20de, bombZstd(4096), false);
    plain[13] = 1;
    new DataView(plain.buffer).setUint32(plain.length - 4, crc32c(plain.subarray(0, -4)), true);
    const { manifest, name } = rootOf(plain);
    const source = memorySource({ ...files, 'manifest.ocdbt': manifest, [name]: plain });
    expect((await rejectedBy(readAll(source))).message).toContain('unpacks to more than');
  });
});

/** A manifest over one node, `node`, and the name of the file that is nothing but it. */
function rootOf(
  node: Uint8Array,
  height = 0,
): { readonly manifest: Uint8Array; readonly name: string } {
  const name = 'ocdbt.process_0/d/bbbb0000bbbb0000bbbb0000bbbb0000';
  const none = new Uint8Array(0);
  const root = {
    firstKey: none,
    lastKey: none,
    offset: 0,
    length: node.length,
    keyCount: 1,
    treeBytes: 0,
    valueBytes: 0,
    prefixBytes: 0,
    height,
  };
  const settings = { inlineBytes: 100, isCompressed: false, identity: IDENTITY };
  const body = manifestBody([null, root], { path: name, baseBytes: 16 }, settings, 0);
  return { manifest: envelope(0x0cdb_3a2a, body, false), name };
}
