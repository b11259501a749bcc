import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { createFolderSource } from '../../adapters/node/folder-source.ts';
import { portableUnzstd, unzstd } from '../../adapters/node/zstd.ts';
import { openArray } from '../../src/flax/array-stream.ts';
import { openOrbax } from '../../src/flax/open-orbax.ts';
import type { OrbaxArray } from '../../src/flax/orbax-array.ts';
import type { ObjectSource } from '../../src/weights/object-source.ts';
import { memorySource } from '../support/memory-source.ts';
import {
  writeOrbax,
  writeOrbaxDirectories,
  zarrValues,
  type ArrayToWrite,
} from '../support/orbax/orbax-writer.ts';
import { writeOcdbt } from '../support/orbax/ocdbt-writer.ts';
import { readJsonFile } from '../support/read-json.ts';
import { createSeededRandom, forSeeds, type SeededRandom } from '../support/seeded-random.ts';
import { rejectedBy } from '../support/thrown-by.ts';
import { bombZstd } from '../support/zstd-frame.ts';

const GOLDEN = new URL('../golden/', import.meta.url);
/** As they were given to Orbax and TensorStore. */
const ZARR3_VALUES = readJsonFile('test/golden/orbax_zarr3/values.json') as Readonly<
  Record<string, Readonly<Record<string, { readonly shape: number[]; readonly sha256: string }>>>
>;

async function readArray(
  source: ObjectSource,
  array: OrbaxArray,
  step = 1000,
): Promise<Float32Array> {
  const out = new Float32Array(array.shape.reduce((product, size) => product * size, 1));
  const stream = openArray(array, { source, unzstd });
  try {
    for (let at = 0; at < out.length; at += step) await stream.take(out.subarray(at, at + step));
  } finally {
    await stream.close();
  }
  return out;
}

function randomArray(random: SeededRandom): ArrayToWrite {
  const shape = Array.from({ length: random.integer(1, 4) }, () => random.integer(1, 9));
  const total = shape.reduce((product, size) => product * size, 1);
  return {
    shape,
    values: Float32Array.from({ length: total }, () => random.integer(-127, 127) / 64),
    chunks: shape.map((size) => random.integer(1, size + 1)),
    dtype: random.pick(['<f4', 'bfloat16']),
    isRaw: random.chance(0.3),
    ...(random.chance(0.4) && { chunksPerShard: shape.map(() => random.integer(1, 3)) }),
  };
}

const ONE: ArrayToWrite = {
  shape: [6, 50],
  values: new Float32Array(300).fill(2),
  chunks: [2, 50],
};

describe('an Orbax checkpoint', () => {
  it('written by Orbax has the bits that NumPy had, in both decoders', async () => {
    const arrays = JSON.parse(readFileSync(new URL('orbax_tiny.json', GOLDEN), 'utf8')) as Record<
      string,
      { readonly shape: readonly number[]; readonly sha256: string }
    >;
    for (const decoder of [unzstd, portableUnzstd]) {
      const source = createFolderSource(new URL('orbax_tiny', GOLDEN).pathname);
      const orbax = await openOrbax(source, decoder);
      expect([...orbax.arrays.keys()].toSorted()).toEqual(Object.keys(arrays).toSorted());
      for (const [name, { shape, sha256 }] of Object.entries(arrays)) {
        const array = orbax.arrays.get(name) as OrbaxArray;
        expect(array.shape).toEqual(shape);
        const values = await readArray(source, array);
        const bytes = new Uint8Array(values.buffer);
        expect(createHash('sha256').update(bytes).digest('hex'), name).toBe(sha256);
      }
      await source.close();
    }
  });

  it.each(['orbax', 'directories', 'shards'])(
    'in zarr v3 has the bits that were written: %s',
    async (folder) => {
      const source = createFolderSource(new URL(`orbax_zarr3/${folder}`, GOLDEN).pathname);
      const orbax = await openOrbax(source, unzstd);
      const expected = ZARR3_VALUES[folder] ?? {};
      expect([...orbax.arrays.keys()].toSorted()).toEqual(Object.keys(expected).toSorted());
      for (const [name, { shape, sha256 }] of Object.entries(expected)) {
        const array = orbax.arrays.get(name) as OrbaxArray;
        expect(array.shape).toEqual(shape);
        const bytes = new Uint8Array((await readArray(source, array)).buffer);
        expect(createHash('sha256').update(bytes).digest('hex'), name).toBe(sha256);
      }
      await source.close();
    },
  );

  it.each([
    ['OCDBT', writeOrbax],
    ['directories', writeOrbaxDirectories],
  ])('gives every value whatever its chunks and the reads: %s', async (_, write) => {
    await forSeeds(60, async (random) => {
      const arrays = { 'a/b.w': randomArray(random), 'a/b/c.scale': randomArray(random) };
      const source = memorySource(write(arrays));
      const orbax = await openOrbax(source, unzstd);
      for (const [name, { values, shape }] of Object.entries(arrays)) {
        const array = orbax.arrays.get(name) as OrbaxArray;
        expect(array.shape).toEqual(shape);
        expect(await readArray(source, array, random.integer(1, 100))).toEqual(values);
      }
    });
  });

  it('is listed without reading values', async () => {
    const source = memorySource(writeOrbax({ a: ONE, b: { ...ONE, isRaw: true } }));
    await openOrbax(source, unzstd);
    expect(source.reads.some(({ key }) => key.includes('aaaa'))).toBe(true);
    const read = source.reads.filter(({ key }) => key.includes('aaaa'));
    // Metadata of over 100 bytes lies beside the values.
    expect(Math.max(...read.map(({ length }) => length))).toBeLessThan(300);
  });

  it('names a file that was cut short, before anything is read', async () => {
    // Not packed, so that it lies outside of the index.
    const files = writeOrbax({ a: { ...ONE, isRaw: true } });
    const name = Object.keys(files).find((key) => key.includes('aaaa')) as string;
    const cut = { ...files, [name]: (files[name] as Uint8Array).subarray(0, -1) };
    const error = await rejectedBy(openOrbax(memorySource(cut), unzstd));
    expect(error.message).toContain(name);
    expect(error.message).toContain('cut short');
    const { [name]: _, ...others } = files;
    expect((await rejectedBy(openOrbax(memorySource(others), unzstd))).code).toBe(
      'weights_unavailable',
    );
  });

  it('names a chunk that is missing, in both layouts', async () => {
    const { 'a/1.0': _, ...rest } = zarrValues({ a: ONE });
    const database = memorySource(writeOcdbt(rest, { fanout: 4 }));
    expect((await rejectedBy(openOrbax(database, unzstd))).message).toContain(
      'chunk 1.0 is missing',
    );
    const { 'a/2.0': __, ...folders } = writeOrbaxDirectories({ a: ONE });
    expect((await rejectedBy(openOrbax(memorySource(folders), unzstd))).message).toContain(
      'chunk 2.0 is missing',
    );
  });

  it('says what it is not', async () => {
    const error = await rejectedBy(openOrbax(memorySource({ 'x.txt': {} }), unzstd));
    expect(error.message).toContain('is no Orbax checkpoint');
  });

  it('names the database that is missing, not an array', async () => {
    const { 'manifest.ocdbt': _, ...rest } = writeOrbax({ a: ONE });
    const { _METADATA: tree } = writeOrbaxDirectories({ a: ONE });
    const json = new TextDecoder().decode(tree);
    for (const text of [json.replace('"use_ocdbt":false', '"use_ocdbt":true'), json]) {
      const { use_ocdbt, ...older } = JSON.parse(text) as Record<string, unknown>;
      const metadata = use_ocdbt === true ? JSON.parse(text) : older;
      const files = {
        ...rest,
        'ocdbt.process_0/manifest.ocdbt': new Uint8Array(1),
        _METADATA: new TextEncoder().encode(JSON.stringify(metadata)),
      };
      const error = await rejectedBy(openOrbax(memorySource(files), unzstd));
      expect(error.code).toBe('weights_unavailable');
      expect(error.message).toContain('has no manifest.ocdbt');
    }
  });

  it.each<[string, object, string]>([
    ['another version', { zarr_format: 3 }, 'zarr_format must be 2'],
    ['another dtype', { dtype: '<i4' }, 'dtype must be <f4'],
    ['another compressor', { compressor: { id: 'blosc' } }, 'id must be zstd'],
    ['filters', { filters: [{ id: 'delta' }] }, 'filters must be null'],
    ['Fortran order', { order: 'F' }, 'order must be C'],
    ['a huge array', { shape: [2e9, 2e9], chunks: [2e9, 2e9] }, 'shape is too large'],
    ['countless chunks', { shape: [2e9], chunks: [1] }, 'chunks cut it into'],
    ['chunks of nothing', { chunks: [0, 50] }, 'chunks must hold whole numbers'],
    ['too many dimensions', { shape: Array.from({ length: 9 }, () => 1) }, 'up to 8 sizes'],
  ])('refuses %s', async (_, change, message) => {
    const values = zarrValues({ a: ONE });
    const text = new TextDecoder().decode(values['a/.zarray']);
    const json = { ...(JSON.parse(text) as object), ...change };
    const spoilt = { ...values, 'a/.zarray': new TextEncoder().encode(JSON.stringify(json)) };
    const error = await rejectedBy(
      openOrbax(memorySource(writeOcdbt(spoilt, { fanout: 4 })), unzstd),
    );
    expect(error.message).toContain(message);
  });

  it.each([
    ['this decoder', unzstd],
    ['the portable decoder', portableUnzstd],
  ])('refuses chunks that are cut, damaged or unpack to another size: %s', async (_, decoder) => {
    const good = zarrValues({ a: ONE })['a/0.0'] as Uint8Array;
    const random = createSeededRandom(4);
    const spoilt: readonly (readonly [string, Uint8Array])[] = [
      ['cut', good.subarray(0, -1)],
      ['empty', new Uint8Array(0)],
      ['not zstd', Uint8Array.from({ length: 40 }, () => random.integer(0, 255))],
      ['too long', bombZstd(100_000)],
      [
        'too short',
        zarrValues({ a: { shape: [10], values: new Float32Array(10) } })['a/0'] as Uint8Array,
      ],
    ];
    for (const [name, chunk] of spoilt) {
      const values = { ...zarrValues({ a: ONE }), 'a/0.0': chunk };
      const source = memorySource(writeOcdbt(values, { fanout: 4 }));
      const orbax = await openOrbax(source, decoder);
      const stream = openArray(orbax.arrays.get('a') as OrbaxArray, { source, unzstd: decoder });
      const error = await rejectedBy(stream.take(new Float32Array(300)));
      await stream.close();
      expect(error.code, name).toBe('invalid_checkpoint');
      expect(error.message, name).toContain('a, chunk 0 is damaged');
    }
  });

  it('ends its reads on abort', async () => {
    const stop = new AbortController();
    const source = memorySource(writeOrbax({ a: ONE }));
    const orbax = await openOrbax(source, unzstd);
    const place = { source, unzstd, signal: stop.signal };
    const stream = openArray(orbax.arrays.get('a') as OrbaxArray, place);
    await stream.take(new Float32Array(10));
    stop.abort(new Error('enough'));
    await expect(stream.take(new Float32Array(200))).rejects.toThrow('enough');
    await stream.close();
  });
});
