import {
  createWriteStream,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import * as zlib from 'node:zlib';
import { bytesOf } from './file-sink.ts';
import { createRandom } from './random.ts';

/** A part of Gemma 3 27B in Flax, so that arrays have their true sizes. */
export interface FlaxPart {
  readonly layers: number;
  /** Rows of the embedding table. */
  readonly rows: number;
}

interface FlaxArrayShape {
  readonly name: string;
  readonly shape: readonly number[];
  /** Values from one input to the next; 0 for what is not on the int4 grid. */
  readonly inputStride: number;
}

export const SHAPE_27B = {
  hidden: 5376,
  heads: 32,
  kvHeads: 16,
  headDim: 128,
  inner: 21_504,
  layers: 62,
  rows: 262_144,
} as const;

const GROUP = 32;
/** Values made at a time. */
const PIECE_VALUES = 2 ** 20;

/** All arrays of the text model. */
function flaxArrays({ layers, rows }: FlaxPart): readonly FlaxArrayShape[] {
  const { hidden, heads, kvHeads, headDim, inner } = SHAPE_27B;
  return [
    { name: 'transformer.embedder.input_embedding', shape: [rows, hidden], inputStride: 1 },
    plain('transformer.final_norm.scale', [hidden]),
    ...Array.from({ length: layers }, (_, n): readonly FlaxArrayShape[] => {
      const at = `transformer.layer_${n}`;
      return [
        { name: `${at}.attn.q_einsum.w`, shape: [heads, hidden, headDim], inputStride: headDim },
        {
          name: `${at}.attn.kv_einsum.w`,
          shape: [2, kvHeads, hidden, headDim],
          inputStride: headDim,
        },
        {
          name: `${at}.attn.attn_vec_einsum.w`,
          shape: [heads, headDim, hidden],
          inputStride: hidden,
        },
        { name: `${at}.mlp.gating_einsum.w`, shape: [2, inner, hidden], inputStride: 1 },
        { name: `${at}.mlp.linear.w`, shape: [inner, hidden], inputStride: hidden },
        plain(`${at}.attn._query_norm.scale`, [headDim]),
        plain(`${at}.attn._key_norm.scale`, [headDim]),
        ...['pre_attention_norm', 'post_attention_norm', 'pre_ffw_norm', 'post_ffw_norm'].map(
          (norm) => plain(`${at}.${norm}.scale`, [hidden]),
        ),
      ];
    }).flat(),
  ];
}

export function unpackedBytes(part: FlaxPart): number {
  return flaxArrays(part).reduce((sum, { shape }) => sum + 4 * valueCount(shape), 0);
}

/** Whether this Node.js can compress as Orbax does. */
const hasZstd: boolean = 'createZstdCompress' in zlib;

/**
 * Writes random weights on the int4 grid with scales that are no bfloat16 values, each array one chunk,
 * in Orbax' layout of directories.
 * @returns whether it is compressed
 */
export async function ensureFlaxCheckpoint(folder: string, part: FlaxPart): Promise<boolean> {
  const arrays = flaxArrays(part);
  const tree = join(folder, '_METADATA');
  if (existsSync(tree)) return isCompressed(folder);
  rmSync(folder, { recursive: true, force: true });
  for (const array of arrays) {
    const path = join(folder, array.name, array.shape.map(() => '0').join('.'));
    mkdirSync(dirname(path), { recursive: true });
    const values = Readable.from(randomPieces(array));
    const file = createWriteStream(path);
    if (hasZstd) await pipeline(values, createZstd(), file);
    else await pipeline(values, file);
    writeFileSync(join(folder, array.name, '.zarray'), JSON.stringify(zarray(array)));
  }
  const entries = arrays.map(({ name }) => {
    const keys = name.split('.').map((key) => ({ key, key_type: 2 }));
    return [name, { key_metadata: keys, value_metadata: { value_type: 'jax.Array' } }];
  });
  writeFileSync(tree, JSON.stringify({ tree_metadata: Object.fromEntries(entries) }));
  return hasZstd;
}

/** One that was kept may come from another Node.js. */
function isCompressed(folder: string): boolean {
  const path = join(folder, 'transformer.final_norm.scale', '.zarray');
  const { compressor } = JSON.parse(readFileSync(path, 'utf8')) as { readonly compressor: unknown };
  return compressor !== null;
}

function createZstd(): NodeJS.ReadWriteStream {
  const { createZstdCompress, constants } = zlib as unknown as {
    readonly createZstdCompress: (options: object) => NodeJS.ReadWriteStream;
    readonly constants: { readonly ZSTD_c_compressionLevel: number };
  };
  return createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 1 } });
}

function zarray({ shape }: FlaxArrayShape): unknown {
  return {
    zarr_format: 2,
    shape,
    chunks: shape,
    dtype: '<f4',
    compressor: hasZstd ? { id: 'zstd', level: 1 } : null,
    filters: null,
    fill_value: null,
    order: 'C',
    dimension_separator: '.',
  };
}

function* randomPieces({ name, shape, inputStride }: FlaxArrayShape): Generator<Uint8Array> {
  const random = createRandom(name);
  const total = valueCount(shape);
  const words = new Uint32Array(Math.min(PIECE_VALUES, total));
  // One scale for each output that is side by side with others; new ones for every group of inputs.
  const scales = new Float32Array(Math.max(1, inputStride));
  const scaleWords = new Uint32Array(scales.length);
  const groupValues = GROUP * Math.max(1, inputStride);
  for (let done = 0; done < total; done += words.length) {
    const count = Math.min(words.length, total - done);
    const floats = new Float32Array(count);
    random.draw(words);
    for (let i = 0; i < count; i++) {
      const at = done + i;
      if (at % groupValues === 0) {
        random.draw(scaleWords);
        for (let n = 0; n < scales.length; n++) {
          scales[n] = 0.003 + (0.005 * (scaleWords[n] as number)) / 2 ** 32;
        }
      }
      const step = ((words[i] as number) % 15) - 7;
      floats[i] =
        inputStride === 0
          ? step / 8
          : step * (scales[inputStride === 1 ? 0 : at % inputStride] as number);
    }
    yield bytesOf(floats);
  }
}

function valueCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

function plain(name: string, shape: readonly number[]): FlaxArrayShape {
  return { name, shape, inputStride: 0 };
}
