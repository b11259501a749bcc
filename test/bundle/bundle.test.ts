import { describe, expect, it } from 'vitest';
import { openModel } from '../../src/bundle/open-model.ts';
import { packCheckpoint } from '../../src/bundle/pack.ts';
import {
  fingerprintOf,
  readManifest,
  type BundleManifest,
  type BundleTensor,
} from '../../src/bundle/manifest.ts';
import { verifyBundle } from '../../src/bundle/verify.ts';
import { sha256Hex } from '../../src/lib/sha256-hex.ts';
import { openCheckpoint, type OpenedCheckpoint } from '../../src/weights/open-checkpoint.ts';
import { memorySource } from '../support/memory-source.ts';
import { memoryStore, type MemoryStore } from '../support/memory-store.ts';
import { writeSafetensors } from '../support/safetensors-writer.ts';
import { createSeededRandom, forSeeds } from '../support/seeded-random.ts';
import { syntheticCheckpoint, type SyntheticOptions } from '../support/synthetic-checkpoint.ts';

const SHAPE: SyntheticOptions = { names: 'old', groupSize: 32, scaleDtype: 'BF16' };

async function openSynthetic(options: SyntheticOptions): Promise<OpenedCheckpoint> {
  const { configJson, tensors } = syntheticCheckpoint(options);
  return openCheckpoint(
    memorySource({
      'config.json': configJson,
      'model.safetensors': writeSafetensors(tensors),
      'tokenizer.json': { some: 'tokenizer' },
    }),
  );
}

async function pack(
  checkpoint: OpenedCheckpoint,
  store: MemoryStore,
  head?: 'int8' | 'int4' | 'table',
) {
  return packCheckpoint({
    checkpoint,
    source: checkpoint.source,
    store,
    buildVocabulary: async (json) => json.slice(0, 5),
    partBytes: 4096,
    ...(head === undefined ? {} : { head }),
  });
}

/** Everything a loader reads, as one list of arrays. */
async function readAll(checkpoint: OpenedCheckpoint): Promise<unknown[]> {
  const { config, tensors } = checkpoint;
  const all: unknown[] = [];
  for (const name of [...tensors.keys()].toSorted()) {
    if (name === 'embed_tokens' || /\.(?:qweight|qzeros|scales)$/.test(name)) continue;
    all.push([name, await checkpoint.readFloats(name)]);
  }
  for (let layer = 0; layer < config.text.layerCount; layer++) {
    const name = `layers.${layer}.mlp.down_proj`;
    const info = await checkpoint.linear(name);
    all.push(info);
    if (info.type !== 'int4') continue;
    const groups = info.inFeatures / info.groupSize;
    const target = {
      packed: new Uint8Array((info.outFeatures * info.inFeatures) / 2),
      scales: new Float32Array(info.outFeatures * groups),
      zeroPoints: info.symmetric ? null : new Uint8Array(info.outFeatures * Math.ceil(groups / 2)),
    };
    await checkpoint.readInt4(name, target);
    all.push(target);
  }
  const ids = Int32Array.of(0, 3, 3, 39, 7);
  const rows = new Float32Array(ids.length * config.text.hiddenSize);
  await checkpoint.gatherEmbeddings(ids, rows);
  const some = new Float32Array(5 * config.text.hiddenSize);
  await checkpoint.readRows('embed_tokens', 10, 15, some);
  all.push(rows, some);
  return all;
}

describe('a bundle', () => {
  it.each<[string, SyntheticOptions]>([
    ['int4 with bfloat16 scales', SHAPE],
    ['int4 with float16 scales', { ...SHAPE, scaleDtype: 'F16' }],
    ['int4 with fp32 scales and zero points', { ...SHAPE, scaleDtype: 'F32', zeros: 'random' }],
    ['groups of 128', { ...SHAPE, groupSize: 128 }],
    ['plain floats', { ...SHAPE, groupSize: null, floatDtype: 'F16' }],
    ['text only, with padding rows', { ...SHAPE, names: 'text', paddingRows: 3 }],
  ])('gives every value of its checkpoint: %s', async (_, options) => {
    const checkpoint = await openSynthetic(options);
    const store = memoryStore();
    await pack(checkpoint, store);
    const bundle = await openModel(store);
    expect(bundle.config).toEqual(checkpoint.config);
    expect(bundle.defaults).toEqual(checkpoint.defaults);
    expect([...bundle.tensors.keys()].toSorted()).toEqual(
      [...checkpoint.tensors.keys()].filter((name) => bundle.tensors.has(name)).toSorted(),
    );
    expect(await readAll(bundle)).toEqual(await readAll(checkpoint));
    const manifest = await readManifest(store);
    if (manifest === null) throw new Error('no manifest');
    expect(await verifyBundle(store, manifest)).toMatchObject({ problems: [] });
  });

  it('keeps a table that lies on the int4 grid as int4, and its head with it', async () => {
    const { configJson, tensors } = syntheticCheckpoint(SHAPE);
    const random = createSeededRandom(3);
    const table = tensors['language_model.model.embed_tokens.weight'];
    if (table === undefined) throw new Error('no table');
    const halves = new Uint16Array(table.bytes.buffer, table.bytes.byteOffset, 40 * 128);
    // 1, 2, 3 ... steps of one half are exact in bfloat16.
    const float = new Float32Array(1);
    for (let i = 0; i < halves.length; i++) {
      float[0] = i % 32 === 0 ? 3.5 : random.integer(-8, 7) / 2;
      halves[i] = (new Uint32Array(float.buffer)[0] ?? 0) >>> 16;
    }
    const source = memorySource({
      'config.json': configJson,
      'model.safetensors': writeSafetensors(tensors),
    });
    const checkpoint = await openCheckpoint(source);
    const store = memoryStore();
    const manifest = await pack(checkpoint, store);
    expect(manifest.table.format).toBe('int4');
    const bundle = await openModel(store);
    expect(await readAll(bundle)).toEqual(await readAll(checkpoint));
    expect(bundle.storedHead).toMatchObject({ format: 'int4', blockSize: 32 });
    const packed = new Uint8Array((40 * 128) / 2);
    const scales = new Float32Array((40 * 128) / 32);
    await bundle.storedHead?.read(packed, scales);
    const rows = new Float32Array(40 * 128);
    await checkpoint.readRows('embed_tokens', 0, 40, rows);
    for (let i = 0; i < rows.length; i++) {
      const nibble = ((packed[i >> 1] ?? 0) >> (4 * (i % 2))) & 15;
      expect((nibble - 8) * (scales[Math.floor(i / 32)] ?? 0)).toBe(rows[i]);
    }
  });

  it('packed again sends nothing, and after a crash only what is missing', async () => {
    const checkpoint = await openSynthetic(SHAPE);
    const store = memoryStore();
    const first = await pack(checkpoint, store);
    const partWrites = (): number => store.writes.filter((key) => key.startsWith('parts/')).length;
    const before = partWrites();
    expect(await pack(checkpoint, store)).toEqual(first);
    expect(partWrites()).toBe(before);
    const broken = memoryStore();
    let left = 20;
    broken.onWrite = () => {
      if (left-- === 0) throw new Error('the store went away');
    };
    await expect(pack(checkpoint, broken)).rejects.toThrow('the store went away');
    expect(broken.objects.has('bundle.json')).toBe(false);
    broken.onWrite = () => undefined;
    const sent = broken.writes.filter((key) => key.startsWith('parts/')).length;
    expect(await pack(checkpoint, broken)).toEqual(first);
    const parts = new Set(broken.writes.filter((key) => key.startsWith('parts/')));
    expect(parts.size).toBe(broken.writes.filter((key) => key.startsWith('parts/')).length);
    expect(sent).toBeGreaterThan(5);
  });

  it('with a damaged object never gives a wrong value', { timeout: 60_000 }, async () => {
    const checkpoint = await openSynthetic(SHAPE);
    const store = memoryStore();
    await pack(checkpoint, store);
    const expected = await readAll(checkpoint);
    let recovered = 0;
    let refused = 0;
    await forSeeds(60, async (random) => {
      const isLasting = random.chance(0.5);
      const victim = random.pick([...store.objects.keys()]);
      let hits = 0;
      store.onRead = (key, target) => {
        if (key !== victim || (!isLasting && hits > 0)) return;
        hits++;
        const at = random.integer(0, target.length - 1);
        target[at] = (target[at] ?? 0) ^ (1 << random.integer(0, 7));
      };
      try {
        const bundle = await openModel(store);
        const values = await readAll(bundle);
        expect(values).toEqual(expected);
        recovered++;
      } catch (error) {
        if (error instanceof Error && error.name === 'AssertionError') throw error;
        expect(String(error)).toMatch(/manifest|JSON|bundle|damaged|lacks/i);
        refused++;
      }
    });
    store.onRead = () => undefined;
    expect(recovered).toBeGreaterThan(10);
    expect(refused).toBeGreaterThan(10);
  });

  it('is refused at opening when its manifest was changed, or is of another model', async () => {
    const checkpoint = await openSynthetic(SHAPE);
    const store = memoryStore();
    const manifest = await pack(checkpoint, store);
    const openWith = (changed: BundleManifest): Promise<unknown> => {
      store.objects.set('bundle.json', new TextEncoder().encode(JSON.stringify(changed)));
      return openModel(store);
    };
    const { table } = manifest;
    await expect(openWith({ ...manifest, fingerprint: '0'.repeat(64) })).rejects.toThrow(
      'its fingerprint is not that of its content. Run gemlet pack again',
    );
    await expect(openWith({ ...manifest, table: { ...table, rows: 8 } })).rejects.toThrow(
      'its fingerprint is not that of its content',
    );

    // With its fingerprint made right again.
    const resign = async (changed: BundleManifest): Promise<unknown> =>
      openWith({ ...changed, fingerprint: await fingerprintOf(changed, sha256Hex) });
    const swapTensor = (change: (tensor: BundleTensor) => BundleTensor): Promise<unknown> => {
      const { decoder } = manifest;
      const tensors = decoder.tensors.map((tensor) =>
        tensor.name === 'layers.0.mlp.down_proj' ? change(tensor) : tensor,
      );
      return resign({ ...manifest, decoder: { ...decoder, tensors } });
    };
    await expect(resign(manifest)).resolves.toBeDefined();
    await expect(resign({ ...manifest, table: { ...table, rows: 8 } })).rejects.toThrow(
      /the embedding table is \[8, \d+\], but config\.json demands \[\d+, \d+\] or more rows/,
    );
    await expect(
      swapTensor((tensor) => (tensor.type === 'int4' ? { ...tensor, outFeatures: 8 } : tensor)),
    ).rejects.toThrow(/layers\.0\.mlp\.down_proj is int4 \[8, \d+\], but config\.json demands/);
    await expect(swapTensor((tensor) => ({ ...tensor, offset: 2 ** 40 }))).rejects.toThrow(
      'layers.0.mlp.down_proj ends at byte',
    );
    await expect(
      swapTensor((tensor) => ({ ...tensor, name: 'other' }) as BundleTensor),
    ).rejects.toThrow('it lacks layers.0.mlp.down_proj');
  });

  it('says what is wrong with it', async () => {
    const checkpoint = await openSynthetic(SHAPE);
    const store = memoryStore();
    const manifest = await pack(checkpoint, store);
    const [first, second] = manifest.decoder.parts;
    store.objects.delete(`parts/${first?.sha256}`);
    store.objects.set(`parts/${second?.sha256}`, new Uint8Array(second?.sizeBytes ?? 0));
    store.objects.set('config.json', new Uint8Array(3));
    const { problems } = await verifyBundle(store, manifest);
    expect(problems.map(({ key, problem }) => `${key}: ${problem}`).toSorted()).toEqual(
      [
        'config.json: wrong size',
        `parts/${first?.sha256}: missing`,
        `parts/${second?.sha256}: wrong bytes`,
      ].toSorted(),
    );
    store.objects.set('bundle.json', new TextEncoder().encode('{"version": 9}'));
    await expect(openModel(store)).rejects.toThrow('has version 9');
  });
});
