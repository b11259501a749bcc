import { describe, expect, it } from 'vitest';
import { unzstd } from '../../adapters/node/zstd.ts';
import { roundToBfloat16 } from '../../src/bundle/grid.ts';
import { planConversion } from '../../src/flax/conversion-plan.ts';
import { convertArray } from '../../src/flax/convert-array.ts';
import { openOrbax } from '../../src/flax/open-orbax.ts';
import { flaxTree } from '../support/flax-tree.ts';
import { memorySource } from '../support/memory-source.ts';
import { writeOrbax, type ArrayToWrite } from '../support/orbax/orbax-writer.ts';
import { syntheticCheckpoint } from '../support/synthetic-checkpoint.ts';
import { rejectedBy } from '../support/thrown-by.ts';

const MODEL = syntheticCheckpoint({ names: 'old', groupSize: 32, seed: 3 });
const HIDDEN = MODEL.config.text.hiddenSize;
const TABLE = 'transformer/embedder.input_embedding';
const NORM = 'transformer/layer_1/attn/_query_norm.scale';
const QUERY = 'transformer/layer_1/attn/q_einsum.w';
const GATING = 'transformer/layer_0/mlp/gating_einsum.w';
const KERNEL = 'SigLiPFromPatches_0/siglip_encoder/embedding.kernel';

/** Converts one array of a model in which some of its values are others. */
async function convertWith(
  name: string,
  change: (values: Float32Array) => void,
  dtype: ArrayToWrite['dtype'] = '<f4',
): Promise<number> {
  const tree = flaxTree(MODEL.config, MODEL.values);
  const array = tree[name] as ArrayToWrite;
  const values = array.values.slice();
  change(values);
  tree[name] = { ...array, values, dtype };
  const source = memorySource(writeOrbax(tree));
  const plan = await planConversion(await openOrbax(source, unzstd), {
    config: { 'config.json': MODEL.configJson },
  });
  let bytes = 0;
  const flax = plan.shards
    .flatMap(({ arrays }) => arrays.map((planned) => planned.flax))
    .find((candidate) => candidate.array.name === name);
  if (flax === undefined) throw new RangeError(`no ${name}`);
  for await (const piece of convertArray(flax, { source, unzstd })) bytes += piece.length;
  return bytes;
}

async function refusal(...args: Parameters<typeof convertWith>): Promise<string> {
  const error = await rejectedBy(convertWith(...args));
  expect(error.code).toBe('invalid_checkpoint');
  return error.message;
}

function setBits(values: Float32Array, at: number, bits: number): void {
  new Uint32Array(values.buffer)[at] = bits;
}

describe('a value that is no finite number is refused by array and place', () => {
  it.each([
    ['a norm', NORM, 5, '[5]'],
    ['the table', TABLE, 3 * HIDDEN + 7, '[3, 7]'],
    ['a kernel whose dimensions change places', KERNEL, 1, '[0, 0, 0, 1]'],
  ])('in %s', async (_, name, at, place) => {
    for (const [bits, shown] of [
      [0x7fff_ffff, 'NaN'],
      [0xffc0_0000, 'NaN'],
      [0x7f80_0000, 'Infinity'],
      [0xff80_0000, '-Infinity'],
      // Rounds to infinity.
      [0x7f7f_8000, '3.39618e+38, more than bfloat16 holds'],
    ] as const) {
      const message = await refusal(name, (values) => setBits(values, at, bits));
      expect(message).toContain(`${name} is damaged: its value ${place} is ${shown}`);
    }
  });

  it('in a linear of either order', async () => {
    // Head 1, input 40, output 5 of the head; part 1, output 2, input 33.
    const inner = MODEL.config.text.intermediateSize;
    const { headDim } = MODEL.config.text;
    for (const bits of [0x7fff_ffff, 0x7f80_0000, 0x7f7f_ffff]) {
      expect(
        await refusal(QUERY, (values) => setBits(values, (HIDDEN + 40) * headDim + 5, bits)),
      ).toMatch(
        /q_proj\) is damaged: its weight of output \d+ for input 40 is (NaN|Infinity|3\.40282e\+38)/,
      );
      expect(
        await refusal(GATING, (values) => setBits(values, (inner + 2) * HIDDEN + 33, bits)),
      ).toMatch(/up_proj\) is damaged: its weight of output 2 for input 33 is/);
    }
  });

  it('but the largest that bfloat16 holds is taken', async () => {
    expect(await convertWith(NORM, (values) => setBits(values, 5, 0x7f7f_7fff))).toBeGreaterThan(0);
  });
});

/** Puts a whole table on the grid, each group with a scale of its own. */
function toGrid(values: Float32Array): void {
  for (let i = 0; i < values.length; i++) {
    const scale = (1 + ((i >> 5) % 7)) / 100;
    values[i] = Math.fround((((i * 7) % 15) - 7) * Math.fround(scale));
  }
}

describe('a table on the grid', () => {
  it('with one value beside it is refused, by row and input', async () => {
    const message = await refusal(TABLE, (values) => {
      toGrid(values);
      values[3 * HIDDEN + 40] = 0.12345;
    });
    expect(message).toContain(`${TABLE} is damaged: row 3 from input 32 on`);
    expect(message).toContain('no grid of 4 bits, unlike the rest of the table');
  });

  it('is taken in fp32, and in bfloat16, which lies beside it by its rounding', async () => {
    expect(await convertWith(TABLE, toGrid)).toBeGreaterThan(0);
    const rounded = (values: Float32Array): void => {
      toGrid(values);
      for (const [i, value] of values.entries()) values[i] = roundToBfloat16(value);
    };
    expect(await convertWith(TABLE, rounded, 'bfloat16')).toBeGreaterThan(0);
    const message = await refusal(
      TABLE,
      (values) => {
        rounded(values);
        values[HIDDEN + 1] = roundToBfloat16(0.12345);
      },
      'bfloat16',
    );
    expect(message).toContain('row 1 from input 0 on');
  });

  it('is not demanded: most training leaves it as it is', async () => {
    const bytes = await convertWith(TABLE, (values) => {
      for (let i = 0; i < values.length; i++) values[i] = Math.sin(i);
    });
    expect(bytes).toBeGreaterThan(0);
  });
});
