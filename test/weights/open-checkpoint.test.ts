import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { createFolderSource } from '../../adapters/node/folder-source.ts';
import { ServeError } from '../../src/errors.ts';
import { openCheckpoint } from '../../src/weights/open-checkpoint.ts';
import { readSafetensorsHeader } from '../../src/weights/safetensors.ts';
import { dequantize } from '../support/dequantize.ts';
import { memorySource } from '../support/memory-source.ts';
import type { MemorySource } from '../support/memory-source.ts';
import { floatTensor, packAwq, writeSafetensors } from '../support/safetensors-writer.ts';
import type { TensorToWrite } from '../support/safetensors-writer.ts';
import { storedName, syntheticCheckpoint } from '../support/synthetic-checkpoint.ts';
import type { Synthetic } from '../support/synthetic-checkpoint.ts';

const folder = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));

const single = (model: Synthetic, tensors = model.tensors) => ({
  'config.json': model.configJson,
  'model.safetensors': writeSafetensors(tensors),
});

const without = (
  tensors: Readonly<Record<string, TensorToWrite>>,
  ...names: readonly string[]
): Record<string, TensorToWrite> =>
  Object.fromEntries(Object.entries(tensors).filter(([name]) => !names.includes(name)));

/** Far faster than comparing value by value. */
function expectSameBits(found: Float32Array, expected: Float32Array, name: string): void {
  if (Buffer.from(found.buffer).equals(Buffer.from(expected.buffer))) return;
  const at = expected.findIndex((value, i) => !Object.is(value, found[i]));
  throw new Error(`${name}[${at}] is ${found[at]}, not ${expected[at]} (${found.length} values)`);
}

async function expectValues(source: MemorySource, model: Synthetic): Promise<void> {
  const checkpoint = await openCheckpoint(source);
  for (const [name, values] of model.values) {
    const isLinear = name.startsWith('layers.') && name.endsWith('_proj');
    const found = isLinear ? await dequantize(checkpoint, name) : await checkpoint.readFloats(name);
    expectSameBits(found, values, name);
  }
}

async function fault(source: MemorySource): Promise<ServeError> {
  const error: unknown = await openCheckpoint(source).catch((reason: unknown) => reason);
  if (!ServeError.is(error)) throw new Error('was opened', { cause: error });
  expect(source.isClosed).toBe(true);
  return error;
}

describe('openCheckpoint on published layouts', () => {
  it('dequantises the reference’s tiny AWQ model to exactly the reference’s floats', async () => {
    const source = createFolderSource(folder('test/golden/tiny'));
    const oracle = await readSafetensorsHeader(source, 'dequant_fp32_old_names.safetensors');
    const checkpoint = await openCheckpoint(source);
    expect(checkpoint.ignored).toEqual([]);
    let compared = 0;
    for (const { storedName: stored, key, offset, sizeBytes } of oracle) {
      const expected = new Float32Array(sizeBytes / 4);
      await source.read(key, offset, new Uint8Array(expected.buffer));
      const name = stored
        .replace(/^language_model\.model\.(.*)\.weight$/, '$1')
        .replace(
          'vision_tower.vision_model.embeddings.position_embedding.weight',
          'vision.position_embedding',
        )
        .replace(/^vision_tower\.vision_model\.(encoder\.|embeddings\.)?/, 'vision.')
        .replace('multi_modal_projector.mm_input_projection_weight', 'projector.weight')
        .replace('multi_modal_projector.mm_soft_emb_norm.weight', 'projector.norm');
      const isLinear = name.startsWith('layers.') && name.endsWith('_proj');
      const found = isLinear
        ? await dequantize(checkpoint, name)
        : await checkpoint.readFloats(name);
      expectSameBits(found, expected, name);
      compared++;
    }
    expect(compared).toBe(132);
    await checkpoint.close();
  });

  it('opens the demo model and leaves its unused pooling head out', async () => {
    const checkpoint = await openCheckpoint(createFolderSource(folder('infra/demo-model')));
    expect(checkpoint.config.vision?.tokensPerImage).toBe(16);
    expect(checkpoint.config.text.embeddingScale).toBe(13.875);
    expect(checkpoint.config.text.eosIds).toEqual([1, 6]);
    expect(checkpoint.defaults.topK).toBe(64);
    expect(checkpoint.files).toEqual(['model.safetensors']);
    expect(checkpoint.ignored.length).toBe(11);
    expect(checkpoint.ignored.every((name) => name.includes('.head.'))).toBe(true);
    expect(await checkpoint.linear('layers.5.mlp.down_proj')).toEqual({
      type: 'int4',
      outFeatures: 192,
      inFeatures: 576,
      groupSize: 32,
      symmetric: true,
    });
    await checkpoint.close();
  });

  it.each(['old', 'new', 'text'] as const)('reads every tensor under %s names', async (names) => {
    const model = syntheticCheckpoint({ names, groupSize: 32 });
    await expectValues(memorySource(single(model)), model);
  });

  it.each([
    [32, 'BF16', 'random'],
    [64, 'F16', 'eight'],
    [64, 'F16', 'random'],
    [128, 'F32', 'random'],
    [128, 'BF16', 'eight'],
  ] as const)(
    'reads groups of %i with %s scales and %s zero points',
    async (groupSize, scaleDtype, zeros) => {
      const model = syntheticCheckpoint({ names: 'text', groupSize, scaleDtype, zeros });
      const checkpoint = await openCheckpoint(memorySource(single(model)));
      expect(await checkpoint.linear('layers.1.mlp.up_proj')).toEqual({
        type: 'int4',
        outFeatures: 256,
        inFeatures: 128,
        groupSize,
        symmetric: zeros === 'eight',
      });
      await expectValues(memorySource(single(model)), model);
    },
  );

  it.each(['BF16', 'F16', 'F32'] as const)('reads unquantised %s linears', async (floatDtype) => {
    const model = syntheticCheckpoint({ names: 'new', groupSize: null, floatDtype });
    await expectValues(memorySource(single(model)), model);
    const checkpoint = await openCheckpoint(memorySource(single(model)));
    expect(await checkpoint.linear('layers.0.self_attn.q_proj')).toEqual({
      type: 'float',
      outFeatures: 128,
      inFeatures: 128,
    });
    const exact = Math.sqrt(128);
    const rounded = { BF16: 11.3125, F16: 11.3125, F32: Math.fround(exact) }[floatDtype];
    expect(checkpoint.config.text.embeddingScale).toBe(rounded);
  });
});

describe('openCheckpoint on files', () => {
  const model = syntheticCheckpoint({ names: 'old', groupSize: 32 });
  const names = Object.keys(model.tensors);
  const half = (from: number, to: number) =>
    writeSafetensors(
      Object.fromEntries(names.slice(from, to).map((name) => [name, model.tensors[name]])) as never,
    );
  const first = half(0, 10);
  const rest = half(10, names.length);
  const index = (files: Readonly<Record<string, string>> = {}) => ({
    metadata: { total_size: 1 },
    weight_map: Object.fromEntries(
      names.map((name, i) => [
        name,
        files[name] ?? (i < 10 ? 'model-00001.safetensors' : 'b/weights-2.safetensors'),
      ]),
    ),
  });

  it('follows an index to shards of any name', async () => {
    const source = memorySource({
      'config.json': model.configJson,
      'model.safetensors.index.json': index(),
      'model-00001.safetensors': first,
      'b/weights-2.safetensors': rest,
    });
    await expectValues(source, model);
  });

  it('lets the index decide which of two copies of a tensor counts', async () => {
    const stale = floatTensor('BF16', [128], new Float32Array(128).fill(3));
    const copy = names[12] ?? '';
    const source = memorySource({
      'config.json': model.configJson,
      'model.safetensors.index.json': index(),
      'model-00001.safetensors': writeSafetensors({
        ...(Object.fromEntries(
          names.slice(0, 10).map((name) => [name, model.tensors[name]]),
        ) as Record<string, TensorToWrite>),
        [copy]: stale,
      }),
      'b/weights-2.safetensors': rest,
    });
    await expectValues(source, model);
  });

  it.each([
    [true, 'model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'],
    [true, 'model-00001.safetensors', 'model-00002.safetensors'],
    [false, 'model-00001.safetensors', 'model-00002.safetensors'],
  ])('finds shards without an index (listed: %s, %s)', async (listed, one, two) => {
    const files = { 'config.json': model.configJson, [one]: first, [two]: rest };
    await expectValues(memorySource(files, { listed }), model);
  });

  it('says which shards are missing', async () => {
    const error = await fault(
      memorySource(
        { 'config.json': model.configJson, 'model-00001-of-00003.safetensors': first },
        { listed: true },
      ),
    );
    expect(error.message).toContain('has 1 of 3 weight files');
    const unlisted = await fault(
      memorySource({
        'config.json': model.configJson,
        'model.safetensors.index.json': index(),
        'model-00001.safetensors': first,
      }),
    );
    expect(unlisted.code).toBe('weights_unavailable');
    expect(unlisted.message).toContain('b/weights-2.safetensors is missing');
  });

  it('refuses an index that names tensors the files lack, or files outside the folder', async () => {
    const files = {
      'config.json': model.configJson,
      'model-00001.safetensors': first,
      'b/weights-2.safetensors': rest,
    };
    const wrong = index({ [names[0] ?? '']: 'b/weights-2.safetensors' });
    const error = await fault(memorySource({ ...files, 'model.safetensors.index.json': wrong }));
    expect(error.message).toContain(`b/weights-2.safetensors holds ${names[0]}, but it does not`);
    for (const file of [
      '../secret.safetensors',
      '/etc/x.safetensors',
      'a\\b.safetensors',
      'notes.txt',
    ]) {
      const outside = { weight_map: { x: file } };
      const escape = await fault(
        memorySource({ ...files, 'model.safetensors.index.json': outside }),
      );
      expect(escape.code).toBe('invalid_checkpoint');
    }
    const empty = await fault(memorySource({ ...files, 'model.safetensors.index.json': {} }));
    expect(empty.message).toContain('no weight_map');
  });

  it('says what to take instead of GGUF files and pickles', async () => {
    const gguf = await fault(
      memorySource({ 'gemma.Q4_0.gguf': new Uint8Array(1) }, { listed: true }),
    );
    expect(gguf.code).toBe('unsupported_model');
    expect(gguf.message).toContain('GGUF');
    const pickle = { 'config.json': model.configJson, 'pytorch_model.bin': new Uint8Array(1) };
    expect((await fault(memorySource(pickle, { listed: true }))).message).toContain('pickled');
  });

  it('says what a model needs when files are missing', async () => {
    expect((await fault(memorySource({}))).message).toContain('has no config.json');
    const error = await fault(memorySource({ 'config.json': model.configJson }));
    expect(error.code).toBe('weights_unavailable');
    expect(error.message).toContain('has no model.safetensors');
  });

  it('explains a file that is only a Git LFS pointer', async () => {
    const pointer = new TextEncoder().encode('version https://git-lfs.github.com/spec/v1');
    expect((await fault(memorySource({ 'config.json': pointer }))).message).toContain('Git LFS');
  });

  it('refuses other architectures before it looks at any weight', async () => {
    const source = memorySource({ 'config.json': { model_type: 'llama' } });
    expect((await fault(source)).message).toContain('llama');
    expect(source.reads.map(({ key }) => key)).toEqual(['config.json']);
  });

  it('reads the settings that older AutoAWQ versions kept in a file of their own', async () => {
    const files = { ...single(model), 'quant_config.json': { w_bit: 4, version: 'GEMV' } };
    expect((await fault(memorySource(files))).message).toContain('quant_config.json: version');
  });
});

describe('openCheckpoint on tensors', () => {
  const model = syntheticCheckpoint({ names: 'old', groupSize: 32 });
  const q = 'language_model.model.layers.1.self_attn.q_proj';
  const norm = 'language_model.model.norm.weight';
  const open = (tensors: Record<string, TensorToWrite>, config: object = {}) =>
    memorySource({ ...single(model, tensors), 'config.json': { ...model.configJson, ...config } });

  it('checks everything before it reads a weight', async () => {
    const source = open(without(model.tensors, norm));
    await fault(source);
    // Config, 8 bytes of header length, the header.
    expect(source.reads.length).toBe(3);
  });

  it('names what is missing, with its shape', async () => {
    const error = await fault(open(without(model.tensors, norm)));
    expect(error.code).toBe('invalid_checkpoint');
    expect(error.message).toContain('lacks norm [128]:');
    const many = await fault(
      open(without(model.tensors, norm, `${q}.qweight`, `${q}.scales`, `${q}.qzeros`)),
    );
    expect(many.message).toContain(
      'lacks layers.1.self_attn.q_proj [128, 128] and 1 other tensor:',
    );
    expect((await fault(open(without(model.tensors, `${q}.qzeros`)))).message).toContain(
      'layers.1.self_attn.q_proj has no qzeros',
    );
  });

  it('names tensor, file, found and expected shape when they differ', async () => {
    const wrong = floatTensor('BF16', [64], new Float32Array(64));
    expect((await fault(open({ ...model.tensors, [norm]: wrong }))).message).toContain(
      `model.safetensors: ${norm} is [64], but config.json demands [128]`,
    );
    const packed = packAwq(new Uint8Array(128 * 64), 128, 64);
    expect((await fault(open({ ...model.tensors, [`${q}.qweight`]: packed }))).message).toContain(
      `${q}.qweight is [128, 8], but config.json demands [128, 16]`,
    );
    const scales = floatTensor('BF16', [8, 128], new Float32Array(1024));
    expect((await fault(open({ ...model.tensors, [`${q}.scales`]: scales }))).message).toContain(
      'groups of 32, 64 or 128',
    );
  });

  it('refuses dtypes it cannot read, by name', async () => {
    const wrong = { dtype: 'F8_E4M3', shape: [128], bytes: new Uint8Array(128) };
    expect((await fault(open({ ...model.tensors, [norm]: wrong }))).message).toContain('F8_E4M3');
    const words = { ...(model.tensors[`${q}.qweight`] as TensorToWrite), dtype: 'F32' };
    expect((await fault(open({ ...model.tensors, [`${q}.qweight`]: words }))).message).toContain(
      'must be I32',
    );
  });

  it('refuses a tensor that is there twice', async () => {
    const twin = model.tensors[norm] as TensorToWrite;
    const error = await fault(open({ ...model.tensors, 'model.language_model.norm.weight': twin }));
    expect(error.message).toContain('holds norm twice');
    const plain = floatTensor('BF16', [128, 128], new Float32Array(128 * 128));
    const both = await fault(open({ ...model.tensors, [`${q}.weight`]: plain }));
    expect(both.message).toContain('both as int4 and as');
  });

  it('refuses a config that knows fewer layers than the files hold', async () => {
    const text = { ...(model.configJson.text_config as object), num_hidden_layers: 1 };
    const error = await fault(open(model.tensors, { text_config: text }));
    expect(error.message).toContain('num_hidden_layers 1');
  });

  it('lists tensors that no Gemma 3 uses', async () => {
    const extra = floatTensor('F32', [1], Float32Array.of(1));
    const checkpoint = await openCheckpoint(open({ ...model.tensors, 'audio.x': extra }));
    expect(checkpoint.ignored).toEqual(['audio.x']);
    expect(checkpoint.tensors.has('audio.x')).toBe(false);
  });

  it('takes an untied head where there is one, and demands it where the config does', async () => {
    const head = floatTensor('BF16', [40, 128], new Float32Array(40 * 128).fill(0.5));
    for (const stored of ['lm_head.weight', 'language_model.lm_head.weight']) {
      const checkpoint = await openCheckpoint(open({ ...model.tensors, [stored]: head }));
      expect(await checkpoint.linear('lm_head')).toEqual({
        type: 'float',
        outFeatures: 40,
        inFeatures: 128,
      });
      expect((await checkpoint.readFloats('lm_head'))[7]).toBe(0.5);
    }
    const error = await fault(open(model.tensors, { tie_word_embeddings: false }));
    expect(error.message).toContain('lacks lm_head [40, 128]');
  });

  it('takes a table with padding rows, and refuses one with too few', async () => {
    const padded = syntheticCheckpoint({ names: 'old', groupSize: 32, paddingRows: 64 });
    const checkpoint = await openCheckpoint(memorySource(single(padded)));
    expect(checkpoint.tensors.get('embed_tokens')?.shape).toEqual([104, 128]);
    expect(checkpoint.config.text.vocabSize).toBe(40);
    const short = floatTensor('BF16', [39, 128], new Float32Array(39 * 128));
    const table = storedName('embed_tokens', 'old');
    expect((await fault(open({ ...model.tensors, [table]: short }))).message).toContain(
      'is [39, 128], but config.json demands [40, 128] or more rows',
    );
  });
});
