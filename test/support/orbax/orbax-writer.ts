import { crc32c } from '../../../src/flax/crc32c.ts';
import { createByteWriter } from './ocdbt-encoding.ts';
import { writeOcdbt, type OcdbtOptions } from './ocdbt-writer.ts';
import { zstd } from '../zstd-frame.ts';

export interface ArrayToWrite {
  readonly shape: readonly number[];
  /** C order. */
  readonly values: Float32Array;
  /** Default: one chunk. */
  readonly chunks?: readonly number[];
  readonly dtype?: '<f4' | 'bfloat16';
  readonly isRaw?: boolean;
  /** Chunks in a shard, along each dimension: stored as zarr v3. */
  readonly chunksPerShard?: readonly number[];
}

/** Keys and values of the arrays as zarr v2 stores them. */
export function zarrValues(
  arrays: Readonly<Record<string, ArrayToWrite>>,
): Record<string, Uint8Array> {
  const values: Record<string, Uint8Array> = {};
  for (const [name, array] of Object.entries(arrays)) {
    const { shape } = array;
    const chunks = array.chunks ?? shape;
    if (array.chunksPerShard !== undefined) {
      Object.assign(values, shardedValues(name, array, chunks, array.chunksPerShard));
      continue;
    }
    values[`${name}/.zarray`] = new TextEncoder().encode(
      JSON.stringify({
        chunks,
        compressor: array.isRaw === true ? null : { id: 'zstd', level: 1 },
        dimension_separator: '.',
        dtype: array.dtype ?? '<f4',
        fill_value: null,
        filters: null,
        order: 'C',
        shape,
        zarr_format: 2,
      }),
    );
    const grid = shape.map((size, i) => Math.ceil(size / (chunks[i] ?? 1)));
    for (const index of positions(grid)) {
      const bytes = chunkBytes(array, chunks, index);
      const key = index.length === 0 ? '0' : index.join('.');
      values[`${name}/${key}`] = array.isRaw === true ? bytes : zstd(bytes);
    }
  }
  return values;
}

/** As zarr v3 with `sharding_indexed` has them: chunks one after the other, then where each lies. */
function shardedValues(
  name: string,
  array: ArrayToWrite,
  chunks: readonly number[],
  perShard: readonly number[],
): Record<string, Uint8Array> {
  const { shape } = array;
  const shard = chunks.map((size, i) => size * (perShard[i] ?? 1));
  const bytes = { name: 'bytes', configuration: { endian: 'little' } };
  const codecs = array.isRaw === true ? [bytes] : [bytes, { name: 'zstd' }];
  const index_codecs = [bytes, { name: 'crc32c' }];
  const json = {
    chunk_grid: { name: 'regular', configuration: { chunk_shape: shard } },
    chunk_key_encoding: { name: 'default' },
    codecs: [
      { name: 'sharding_indexed', configuration: { chunk_shape: chunks, codecs, index_codecs } },
    ],
    data_type: array.dtype === 'bfloat16' ? 'bfloat16' : 'float32',
    fill_value: 0,
    node_type: 'array',
    shape,
    zarr_format: 3,
  };
  const values: Record<string, Uint8Array> = {
    [`${name}/zarr.json`]: new TextEncoder().encode(JSON.stringify(json)),
  };
  for (const at of positions(shape.map((size, i) => Math.ceil(size / (shard[i] ?? 1))))) {
    const body = createByteWriter();
    const index = new BigUint64Array(2 * perShard.reduce((product, count) => product * count, 1));
    // Chunks outside of the array are not there.
    index.fill(2n ** 64n - 1n);
    for (const [i, inner] of [...positions(perShard)].entries()) {
      const chunk = inner.map((place, axis) => (at[axis] ?? 0) * (perShard[axis] ?? 1) + place);
      if (chunk.some((place, axis) => place * (chunks[axis] ?? 1) >= (shape[axis] ?? 1))) continue;
      const plain = chunkBytes(array, chunks, chunk);
      const stored = array.isRaw === true ? plain : zstd(plain);
      index.set([BigInt(body.length), BigInt(stored.length)], 2 * i);
      body.bytes(stored);
    }
    const indexBytes = new Uint8Array(index.buffer);
    body.bytes(indexBytes);
    body.bytes(new Uint8Array(Uint32Array.of(crc32c(indexBytes)).buffer));
    values[[name, 'c', ...at].join('/')] = body.finish();
  }
  return values;
}

/** A whole chunk, with what lies outside of the array filled by a value that must not be read. */
function chunkBytes(array: ArrayToWrite, chunks: readonly number[], index: readonly number[]) {
  const count = chunks.reduce((product, size) => product * size, 1);
  const floats = new Float32Array(count).fill(Number.NaN);
  let at = 0;
  for (const position of positions(chunks)) {
    let from = 0;
    let isInside = true;
    for (const [i, size] of array.shape.entries()) {
      const place = (index[i] ?? 0) * (chunks[i] ?? 1) + (position[i] ?? 0);
      isInside &&= place < size;
      from = from * size + place;
    }
    if (isInside) floats[at] = array.values[from] ?? 0;
    at++;
  }
  if (array.dtype !== 'bfloat16') return new Uint8Array(floats.buffer);
  const words = new Uint32Array(floats.buffer);
  return new Uint8Array(Uint16Array.from(words, (word) => word >>> 16).buffer);
}

function* positions(sizes: readonly number[]): Generator<readonly number[]> {
  const total = sizes.reduce((product, size) => product * size, 1);
  for (let index = 0; index < total; index++) {
    let rest = index;
    yield sizes
      .toReversed()
      .map((size) => {
        const at = rest % size;
        rest = (rest - at) / size;
        return at;
      })
      .toReversed();
  }
}

/** As Orbax writes it with OCDBT. */
export function writeOrbax(
  arrays: Readonly<Record<string, ArrayToWrite>>,
  options: Partial<OcdbtOptions> = {},
): Record<string, Uint8Array> {
  return writeOcdbt(zarrValues(arrays), { fanout: 7, ...options });
}

/** As Orbax writes it without: a folder for each array, and a description of the tree. */
export function writeOrbaxDirectories(
  arrays: Readonly<Record<string, ArrayToWrite>>,
): Record<string, Uint8Array> {
  const tree = Object.fromEntries(
    Object.keys(arrays).map((name) => {
      const keys = name.split('.');
      return [
        `(${keys.map((key) => `'${key}'`).join(', ')})`,
        {
          key_metadata: keys.map((key) => ({ key, key_type: 2 })),
          value_metadata: { value_type: 'jax.Array', skip_deserialize: false },
        },
      ];
    }),
  );
  const json = { tree_metadata: tree, use_ocdbt: false, use_zarr3: false };
  return {
    ...zarrValues(arrays),
    _METADATA: new TextEncoder().encode(JSON.stringify(json)),
  };
}
