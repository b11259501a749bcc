import { describe, expect, it } from 'vitest';
import { unzstd } from '../../adapters/node/zstd.ts';
import { convertArray } from '../../src/flax/convert-array.ts';
import {
  planConversion,
  type ConversionPlan,
  type PlanOptions,
} from '../../src/flax/conversion-plan.ts';
import { configFiles } from '../../src/flax/flax-config.ts';
import { parseModelConfig } from '../../src/model/parse-config.ts';
import { createConvertedSource } from '../../src/flax/converted-source.ts';
import { openOrbax } from '../../src/flax/open-orbax.ts';
import { openModel } from '../../src/bundle/open-model.ts';
import { packCheckpoint } from '../../src/bundle/pack.ts';
import type { ObjectSource } from '../../src/weights/object-source.ts';
import { openCheckpoint } from '../../src/weights/open-checkpoint.ts';
import { expectSame } from '../support/expect-same.ts';
import { flaxTree, valuesOf } from '../support/flax-tree.ts';
import { memorySource } from '../support/memory-source.ts';
import { memoryStore } from '../support/memory-store.ts';
import { writeOcdbt } from '../support/orbax/ocdbt-writer.ts';
import {
  writeOrbax,
  writeOrbaxDirectories,
  zarrValues,
  type ArrayToWrite,
} from '../support/orbax/orbax-writer.ts';
import { readJsonFile } from '../support/read-json.ts';
import { rejectedBy } from '../support/thrown-by.ts';
import { syntheticCheckpoint, type Synthetic } from '../support/synthetic-checkpoint.ts';

type Tree = Record<string, ArrayToWrite>;

const VISION = syntheticCheckpoint({ names: 'old', groupSize: 32, seed: 3 });
const TEXT = syntheticCheckpoint({ names: 'text', groupSize: 32, seed: 4 });

function configOf({ configJson }: Synthetic): PlanOptions {
  return { config: { 'config.json': configJson } };
}

async function convert(
  files: Record<string, Uint8Array>,
  options: PlanOptions,
): Promise<{ plan: ConversionPlan; source: ObjectSource; reads: readonly { key: string }[] }> {
  const origin = memorySource(files);
  const plan = await planConversion(await openOrbax(origin, unzstd), options);
  const source = createConvertedSource({
    plan,
    files: new Map([['tokenizer.json', new TextEncoder().encode('{"some": "tokenizer"}')]]),
    convert: (flax, signal) =>
      convertArray(flax, { source: origin, unzstd, ...(signal === undefined ? {} : { signal }) }),
    keptBytes: 100_000,
    atOnce: 4,
  });
  return { plan, source, reads: origin.reads };
}

function rename(tree: Tree, change: (name: string) => string): Tree {
  return Object.fromEntries(Object.entries(tree).map(([name, array]) => [change(name), array]));
}

/** As nested trees have them: dots only, and the weights of the MLP without a last name. */
function nested(name: string): string {
  return name.replaceAll('/', '.').replace(/(mlp\.(?:gating_einsum|linear))\.w$/, '$1');
}

/** Cut along every dimension, as a machine with many chips writes it. */
function sharded(tree: Tree): Tree {
  return Object.fromEntries(
    Object.entries(tree).map(([name, array]) => [
      name,
      { ...array, chunks: array.shape.map((size) => Math.ceil(size / 3)) },
    ]),
  );
}

function inShards(tree: Tree): Tree {
  return Object.fromEntries(
    Object.entries(sharded(tree)).map(([name, array]) => [
      name,
      { ...array, chunksPerShard: array.shape.map(() => 2) },
    ]),
  );
}

describe('a converted checkpoint', () => {
  const cases: readonly (readonly [
    string,
    Synthetic,
    (tree: Tree) => Record<string, Uint8Array>,
  ])[] = [
    ['text only', TEXT, (tree) => writeOrbax(tree)],
    ['with pictures', VISION, (tree) => writeOrbax(tree, { fanout: 3 })],
    ['a nested tree', VISION, (tree) => writeOrbax(rename(tree, nested))],
    [
      'a nested tree in params',
      TEXT,
      (tree) => writeOrbax(rename(tree, (name) => `params.${nested(name)}`)),
    ],
    [
      'a prefix',
      TEXT,
      (tree) => writeOrbax(rename(tree, (name) => `rlx_networks/policy_network/${name}`)),
    ],
    ['a directory for each array', VISION, (tree) => writeOrbaxDirectories(tree)],
    ['zarr v3 in shards', VISION, (tree) => writeOrbax(inShards(tree))],
    ['many chunks', VISION, (tree) => writeOrbax(sharded(tree), { fanout: 5 })],
  ];
  it.each(cases)('has every value of the Flax arrays: %s', async (_, model, write) => {
    const { source } = await convert(write(flaxTree(model.config, model.values)), configOf(model));
    const checkpoint = await openCheckpoint(source);
    expect(checkpoint.config).toEqual(model.config);
    const values = await valuesOf(checkpoint);
    expectSame(values, model.values);
    expect(checkpoint.ignored).toEqual([]);
    await checkpoint.close();
  });

  it('is the same in one shard and in many, and reads the source in its order', async () => {
    const files = writeOrbax(flaxTree(TEXT.config, TEXT.values));
    const whole = await convert(files, configOf(TEXT));
    const parts = await convert(files, { ...configOf(TEXT), shardBytes: 20_000 });
    expect(whole.plan.shards.map(({ file }) => file)).toEqual(['model.safetensors']);
    expect(parts.plan.shards.length).toBeGreaterThan(5);
    const [one, many] = [await openCheckpoint(whole.source), await openCheckpoint(parts.source)];
    expectSame(await valuesOf(many), await valuesOf(one));
    await one.close();
    await many.close();
  });

  it('pads the table with rows of zeros up to the vocabulary', async () => {
    const tree = flaxTree(VISION.config, VISION.values, 32);
    const { source } = await convert(writeOrbax(tree), configOf(VISION));
    const checkpoint = await openCheckpoint(source);
    const table = await checkpoint.readFloats('embed_tokens');
    const hidden = VISION.config.text.hiddenSize;
    expect(table.subarray(0, 32 * hidden)).toEqual(
      VISION.values.get('embed_tokens')?.subarray(0, 32 * hidden),
    );
    expect(new Set(table.subarray(32 * hidden))).toEqual(new Set([0]));
    expect(table.length).toBe(40 * hidden);
    await checkpoint.close();
  });

  it('becomes a bundle without files in between', async () => {
    const tree = flaxTree(VISION.config, VISION.values);
    const { source } = await convert(writeOrbax(tree), configOf(VISION));
    const checkpoint = await openCheckpoint(source);
    const store = memoryStore();
    await packCheckpoint({
      checkpoint,
      source,
      store,
      buildVocabulary: async (json) => json.slice(0, 5),
      partBytes: 4096,
    });
    await checkpoint.close();
    const bundle = await openModel(store);
    const values = await valuesOf(bundle);
    expectSame(values, VISION.values);
    await bundle.close();
  });

  it('of a known size needs no config', async () => {
    const shape = {
      vocabRows: 262_144,
      hiddenSize: 5376,
      layerCount: 62,
      headCount: 32,
      kvHeadCount: 16,
      headDim: 128,
      intermediateSize: 21_504,
    };
    const vision = {
      hiddenSize: 1152,
      layerCount: 27,
      headCount: 16,
      intermediateSize: 4304,
      patchSize: 14,
      imageSize: 896,
    };
    const sizes = [
      [
        '270m',
        {
          hiddenSize: 640,
          layerCount: 18,
          headCount: 4,
          kvHeadCount: 1,
          headDim: 256,
          intermediateSize: 2048,
        },
      ],
      [
        '1b',
        {
          hiddenSize: 1152,
          layerCount: 26,
          headCount: 4,
          kvHeadCount: 1,
          headDim: 256,
          intermediateSize: 6912,
        },
      ],
      [
        '4b',
        {
          hiddenSize: 2560,
          layerCount: 34,
          headCount: 8,
          kvHeadCount: 4,
          headDim: 256,
          intermediateSize: 10_240,
          vision,
        },
      ],
      [
        '12b',
        {
          hiddenSize: 3840,
          layerCount: 48,
          headCount: 16,
          kvHeadCount: 8,
          headDim: 256,
          intermediateSize: 15_360,
          vision,
        },
      ],
      ['27b', { vision }],
    ] as const;
    for (const [name, different] of sizes) {
      const json = configFiles({ ...shape, vision: null, ...different })['config.json'];
      const golden = readJsonFile(`test/golden/configs/gemma-3-${name}.json`);
      expect(parseModelConfig(json), name).toEqual(parseModelConfig(golden));
    }
  });
});

/** Converts and reads all of a model that was changed. */
async function refused(change: (tree: Tree) => void, options = configOf(TEXT)): Promise<string> {
  const tree = flaxTree(TEXT.config, TEXT.values);
  change(tree);
  const { source } = await convert(writeOrbax(tree), options);
  const checkpoint = await openCheckpoint(source);
  try {
    await valuesOf(checkpoint);
  } finally {
    await checkpoint.close();
  }
  return 'nothing';
}

async function messageOf(change: (tree: Tree) => void, options?: PlanOptions): Promise<string> {
  return (await rejectedBy(refused(change, options))).message;
}

function without(...names: readonly string[]): Promise<string> {
  return messageOf((tree) => {
    for (const name of names) delete tree[name];
  });
}

describe('what cannot be converted', () => {
  const Q = 'transformer/layer_1/attn/q_einsum.w';

  it('lacks an array, or has one twice, or one of another shape', async () => {
    expect(await messageOf((tree) => delete tree[Q])).toContain('has no layer_1.attn.q_einsum.w');
    expect(
      await messageOf((tree) => {
        for (const name of Object.keys(tree)) if (name.includes('layer_0')) delete tree[name];
      }),
    ).toContain('has no layer_0.attn.q_einsum.w');
    expect(
      await messageOf((tree) => {
        tree['params.layer_1.attn.q_einsum.w'] = tree[Q] as ArrayToWrite;
      }),
    ).toContain('layer_1.attn.q_einsum.w twice');
    expect(
      await messageOf((tree) => {
        const array = tree[Q] as ArrayToWrite;
        tree[Q] = { ...array, shape: array.shape.toReversed() };
      }),
    ).toContain(`${Q} is [64, 128, 2]`);
    expect(
      await messageOf((tree) => {
        tree['transformer/layer_1/lora.w'] = tree[Q] as ArrayToWrite;
      }),
    ).toContain('layer_1/lora.w is no part of Gemma 3');
    expect(
      await messageOf((tree) => {
        tree['stacked_layers/attention_type_0/attn.w'] = tree[Q] as ArrayToWrite;
      }),
    ).toContain('stacked');
  });

  it('holds what a trainer keeps beside the parameters: names it, whatever its kind', async () => {
    const array = { shape: [1], values: new Float32Array(1) };
    const tree = flaxTree(TEXT.config, TEXT.values);
    const withInt = (name: string): Record<string, Uint8Array> => {
      const values = zarrValues({ ...tree, [name]: { ...array } });
      const key = `${name}/.zarray`;
      const text = new TextDecoder().decode(values[key]).replace('"<f4"', '"<i4"');
      return writeOcdbt({ ...values, [key]: new TextEncoder().encode(text) }, { fanout: 7 });
    };
    const step = await rejectedBy(convert(withInt('step'), configOf(TEXT)));
    expect(step.message).toContain('step is no part of Gemma 3; convert a checkpoint that holds');
    // Nobody needs it, so its kind does not matter.
    const unused = withInt('transformer/embedder.mm_output_embedding');
    await (await convert(unused, configOf(TEXT))).source.close();
    const needed = await rejectedBy(convert(withInt(Q), configOf(TEXT)));
    expect(needed.message).toContain(`${Q}/.zarray.dtype must be <f4, bfloat16 or <f2`);
  });

  it('counts what is missing', async () => {
    const norm = 'transformer/layer_0/attn/_key_norm.scale';
    const last = 'transformer/final_norm.scale';
    expect(await without(last)).toContain('has no final_norm.scale;');
    expect(await without(Q, last)).toContain('has no layer_1.attn.q_einsum.w and 1 other;');
    expect(await without(Q, norm, last)).toContain(' and 2 others;');
  });

  it('leaves out what inference never uses', async () => {
    const extra = { shape: [4], values: new Float32Array(4) };
    const done = await refused((tree) => {
      tree['transformer/embedder.mm_output_embedding'] = extra;
      tree['transformer/embedder/mm_input_embedding_extra.w'] = extra;
    });
    expect(done).toBe('nothing');
  });

  it('lies on no int4 grid: says where', async () => {
    const message = await messageOf((tree) => {
      const array = tree[Q] as ArrayToWrite;
      const values = array.values.slice();
      // Head 1, input 40, output 5 of the head.
      const at = (128 + 40) * 64 + 5;
      values[at] = (values[at] ?? 0) * 1.01 + 0.001;
      tree[Q] = { ...array, values };
    });
    expect(message).toContain(`${Q} (model.layers.1.self_attn.q_proj)`);
    expect(message).toContain('output 69 from input 32 on');
    expect(message).toContain('no grid of 4 bits');
  });

  it('is of an unknown size or unlike its config', async () => {
    expect(await messageOf(() => undefined, {})).toContain("none of Gemma 3's sizes");
    const config = { ...TEXT.configJson, num_hidden_layers: 3 };
    const message = await messageOf(() => undefined, { config: { 'config.json': config } });
    expect(message).toContain('num_hidden_layers 2 by its shapes, but config.json says 3');
  });
});
