import { describe, expect, it } from 'vitest';
import { unzstd } from '../../../adapters/node/zstd.ts';
import { crc32c } from '../../../src/flax/crc32c.ts';
import { openOrbax } from '../../../src/flax/open-orbax.ts';
import { memorySource } from '../../support/memory-source.ts';
import { writeOcdbt } from '../../support/orbax/ocdbt-writer.ts';
import { zarrValues, type ArrayToWrite } from '../../support/orbax/orbax-writer.ts';
import { rejectedBy } from '../../support/thrown-by.ts';

const ONE: ArrayToWrite = {
  shape: [6, 50],
  values: new Float32Array(300).fill(2),
  chunks: [2, 50],
  chunksPerShard: [2, 1],
};

describe('an array in zarr v3', () => {
  it('with a chunk that is missing or a damaged index is refused, naming the shard', async () => {
    const good = zarrValues({ a: ONE });
    const shard = good['a/c/0/0'] as Uint8Array;
    const changed = async (change: (bytes: Uint8Array) => Uint8Array): Promise<string> => {
      const values = { ...good, 'a/c/0/0': change(shard.slice()) };
      const source = memorySource(writeOcdbt(values, { fanout: 4 }));
      return (await rejectedBy(openOrbax(source, unzstd))).message;
    };
    expect(await changed((bytes) => signed(bytes.fill(255, -36, -20)))).toContain(
      'a is damaged: its chunk 0.0 is missing from shard 0',
    );
    expect(await changed((bytes) => bytes.fill(1, -36, -35))).toContain(
      'a, shard 0 is damaged: the CRC-32C of its index is wrong',
    );
    expect(await changed((bytes) => signed(bytes.fill(1, -34, -33)))).toContain(
      'a, shard 0 is damaged: its chunk 0 would end at',
    );
    expect(await changed((bytes) => bytes.subarray(-20))).toContain(
      'it has 20 bytes, but its index alone takes 36',
    );
  });

  it.each<[string, object, string]>([
    ['another version', { zarr_format: 2 }, 'zarr_format must be 3'],
    ['groups', { node_type: 'group' }, 'node_type must be array'],
    ['another dtype', { data_type: 'int32' }, 'must be float32, bfloat16 or float16'],
    ['another grid', { chunk_grid: { name: 'rectangular' } }, 'chunk_grid must be regular'],
    ['another order', { codecs: [{ name: 'transpose' }, { name: 'bytes' }] }, 'must be bytes, or'],
    [
      'big-endian values',
      { codecs: [{ name: 'bytes', configuration: { endian: 'big' } }] },
      'endian must be little',
    ],
    ['another packer', { codecs: ['bytes', 'gzip'] }, 'must be bytes, or bytes and zstd'],
    ['transformers', { storage_transformers: [{}] }, 'storage_transformers must be empty'],
    ['no codecs', { codecs: 'bytes' }, 'codecs must be a list'],
    ['another naming', { chunk_key_encoding: { name: 'x' } }, 'must be default or v2'],
    [
      'chunks that do not fill their shard',
      {
        codecs: [
          {
            name: 'sharding_indexed',
            configuration: { chunk_shape: [3, 50], codecs: ['bytes'], index_codecs: ['bytes'] },
          },
        ],
      },
      'must divide the shards',
    ],
  ])('is refused with %s', async (_, change, message) => {
    const values = zarrValues({ a: ONE });
    const text = new TextDecoder().decode(values['a/zarr.json']);
    const json = { ...(JSON.parse(text) as object), ...change };
    const spoilt = { ...values, 'a/zarr.json': new TextEncoder().encode(JSON.stringify(json)) };
    const error = await rejectedBy(
      openOrbax(memorySource(writeOcdbt(spoilt, { fanout: 4 })), unzstd),
    );
    expect(error.message).toContain(message);
    expect(error.message).toContain('a/zarr.json');
  });
});

/** A shard of two chunks whose changed index is closed by a right checksum. */
function signed(shard: Uint8Array): Uint8Array {
  const sum = crc32c(shard.subarray(-36, -4));
  new DataView(shard.buffer).setUint32(shard.length - 4, sum, true);
  return shard;
}
