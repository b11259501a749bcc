import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { createFolderSource } from '../../adapters/node/folder-source.ts';
import { createHttpsSource } from '../../src/weights/https-source.ts';
import { openCheckpoint } from '../../src/weights/open-checkpoint.ts';
import { dequantize } from '../support/dequantize.ts';
import { memorySource } from '../support/memory-source.ts';
import { startObjectServer } from '../support/object-server.ts';
import { writeSafetensors } from '../support/safetensors-writer.ts';
import { syntheticCheckpoint } from '../support/synthetic-checkpoint.ts';

const model = syntheticCheckpoint({
  names: 'text',
  groupSize: 32,
  zeros: 'random',
  floatDtype: 'F16',
});
const files = {
  'config.json': model.configJson,
  'model.safetensors': writeSafetensors(model.tensors),
};
const table = model.values.get('embed_tokens') ?? new Float32Array(0);
const HIDDEN = 128;
const rowsOf = (ids: readonly number[]): Float32Array =>
  Float32Array.from(ids.flatMap((id) => [...table.subarray(id * HIDDEN, (id + 1) * HIDDEN)]));
const linear = 'layers.0.mlp.gate_proj';
const int4Target = () => ({
  packed: new Uint8Array((256 * 128) / 2),
  scales: new Float32Array(256 * 4),
  zeroPoints: new Uint8Array(256 * 2),
});

describe('readRows', () => {
  it('widens the rows asked for', async () => {
    const checkpoint = await openCheckpoint(memorySource(files));
    const out = new Float32Array(3 * HIDDEN);
    await checkpoint.readRows('embed_tokens', 5, 8, out);
    expect(out).toEqual(rowsOf([5, 6, 7]));
    await checkpoint.readRows('embed_tokens', 40, 40, new Float32Array(0));
  });

  it('refuses rows, sizes and tensors that do not exist', async () => {
    const checkpoint = await openCheckpoint(memorySource(files));
    const out = new Float32Array(HIDDEN);
    await expect(checkpoint.readRows('embed_tokens', 40, 41, out)).rejects.toThrow(RangeError);
    await expect(checkpoint.readRows('embed_tokens', 1, 3, out)).rejects.toThrow('need 256');
    await expect(checkpoint.readRows('norm', 0, 1, out)).rejects.toThrow('has no rows');
    await expect(checkpoint.readFloats('layers.9.norm')).rejects.toThrow('has no tensor');
    await expect(checkpoint.readFloats(`${linear}.qweight`)).rejects.toThrow('not floats');
  });
});

describe('readInt4', () => {
  it('refuses targets of another size and linears that are floats', async () => {
    const checkpoint = await openCheckpoint(memorySource(files));
    const target = { ...int4Target(), packed: new Uint8Array(8) };
    await expect(checkpoint.readInt4(linear, target)).rejects.toThrow('[256, 4, 16] bytes');
    await expect(checkpoint.readInt4('norm', int4Target())).rejects.toThrow('not stored as int4');
  });

  it('refuses to leave out zero points that matter', async () => {
    const checkpoint = await openCheckpoint(memorySource(files));
    const target = { ...int4Target(), zeroPoints: null };
    await expect(checkpoint.readInt4(linear, target)).rejects.toThrow('zero points other than 8');
  });

  it('reads zero points once to tell whether they matter', async () => {
    const source = memorySource(files);
    const checkpoint = await openCheckpoint(source);
    const before = source.reads.length;
    await checkpoint.linear(linear);
    await checkpoint.linear(linear);
    expect(source.reads.length).toBe(before + 1);
  });

  it('stops on abort with the signal’s reason', async () => {
    const checkpoint = await openCheckpoint(memorySource(files));
    const reason = new Error('enough');
    const signal = AbortSignal.abort(reason);
    await expect(checkpoint.readInt4(linear, int4Target(), signal)).rejects.toBe(reason);
    await expect(checkpoint.readFloats('norm', signal)).rejects.toBe(reason);
    await expect(
      (async () =>
        checkpoint.gatherEmbeddings(Int32Array.of(1), new Float32Array(HIDDEN), signal))(),
    ).rejects.toBe(reason);
  });
});

describe('gatherEmbeddings', () => {
  const ids = [3, 39, 0, 3, 3, 17, 16, 39, 18];

  it('returns without a promise where bytes are local', async () => {
    const source = memorySource(files, { local: true });
    const checkpoint = await openCheckpoint(source);
    const before = source.reads.length;
    const out = new Float32Array(ids.length * HIDDEN);
    expect(checkpoint.gatherEmbeddings(Int32Array.from(ids), out)).toBeUndefined();
    expect(out).toEqual(rowsOf(ids));
    expect(source.reads.length).toBe(before);
  });

  it('reads nearby rows together where bytes are far', async () => {
    const source = memorySource(files);
    const checkpoint = await openCheckpoint(source);
    const before = source.reads.length;
    const out = new Float32Array(ids.length * HIDDEN);
    await checkpoint.gatherEmbeddings(Int32Array.from(ids), out);
    expect(out).toEqual(rowsOf(ids));
    // The whole table is smaller than the gap worth bridging.
    expect(source.reads.length).toBe(before + 1);
    expect(source.reads.at(-1)?.length).toBe(40 * HIDDEN * 2);
  });

  it('reads rows that are far apart on their own', async () => {
    const wide = syntheticCheckpoint({ names: 'text', groupSize: null, paddingRows: 1000 });
    const source = memorySource({
      'config.json': wide.configJson,
      'model.safetensors': writeSafetensors(wide.tensors),
    });
    const checkpoint = await openCheckpoint(source);
    const before = source.reads.length;
    const out = new Float32Array(3 * HIDDEN);
    await checkpoint.gatherEmbeddings(Int32Array.of(1000, 2, 1001), out);
    expect(source.reads.slice(before).map(({ length }) => length)).toEqual([256, 512]);
    const values = wide.values.get('embed_tokens') ?? new Float32Array(0);
    expect(out.subarray(0, HIDDEN)).toEqual(values.subarray(1000 * HIDDEN, 1001 * HIDDEN));
    expect(out.subarray(HIDDEN, 2 * HIDDEN)).toEqual(values.subarray(2 * HIDDEN, 3 * HIDDEN));
  });

  it('takes no ids at all, and refuses ids outside the table', async () => {
    for (const local of [true, false]) {
      const checkpoint = await openCheckpoint(memorySource(files, { local }));
      await checkpoint.gatherEmbeddings(new Int32Array(0), new Float32Array(0));
      for (const id of [-1, 40]) {
        expect(() =>
          checkpoint.gatherEmbeddings(Int32Array.of(id), new Float32Array(HIDDEN)),
        ).toThrow(`token id ${id} is not in 0..39`);
      }
      expect(() => checkpoint.gatherEmbeddings(Int32Array.of(1), new Float32Array(1))).toThrow(
        RangeError,
      );
    }
  });
});

describe('a checkpoint on the web', () => {
  it('reads the same as one in a folder', async () => {
    const folder = new URL('../golden/tiny/', import.meta.url);
    const server = await startObjectServer();
    for (const key of ['config.json', 'model.safetensors']) {
      server.objects.set(`/m/${key}`, readFileSync(new URL(key, folder)));
    }
    const local = await openCheckpoint(createFolderSource(fileURLToPath(folder)));
    const web = await openCheckpoint(createHttpsSource(`${server.origin}/m/`, { allowHttp: true }));
    try {
      expect(web.tensors).toEqual(local.tensors);
      for (const name of ['layers.6.mlp.down_proj', 'layers.0.self_attn.k_proj']) {
        expect(await dequantize(web, name)).toEqual(await dequantize(local, name));
      }
      const ids = Int32Array.of(100, 2, 2, 127);
      const [near, far] = [new Float32Array(4 * 64), new Float32Array(4 * 64)];
      await local.gatherEmbeddings(ids, near);
      await web.gatherEmbeddings(ids, far);
      expect(far).toEqual(near);
      // Once the table is in memory nothing is fetched and nobody waits.
      await web.loadEmbeddings?.();
      const fetched = server.requests.length;
      expect(web.gatherEmbeddings(ids, far.fill(0))).toBeUndefined();
      expect(far).toEqual(near);
      expect(server.requests.length).toBe(fetched);
      expect('loadEmbeddings' in local).toBe(false);
    } finally {
      await Promise.all([local.close(), web.close(), server.close()]);
    }
  });
});

describe('close', () => {
  it('closes the source', async () => {
    const source = memorySource(files);
    const checkpoint = await openCheckpoint(source);
    expect(source.isClosed).toBe(false);
    await checkpoint.close();
    expect(source.isClosed).toBe(true);
  });
});
