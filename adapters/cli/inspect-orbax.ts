import { readFlaxShape, type FlaxShape } from '../../src/flax/flax-shape.ts';
import { openOrbax } from '../../src/flax/open-orbax.ts';
import { storedBytes, type OrbaxCheckpoint } from '../../src/flax/orbax-array.ts';
import { nameParameters } from '../../src/flax/param-names.ts';
import type { ObjectSource } from '../../src/weights/object-source.ts';
import { counted } from '../../src/lib/counted.ts';
import { formatBytes } from '../node/memory-fit.ts';
import { unzstd } from '../node/zstd.ts';

/** Lists the arrays of an Orbax checkpoint as text or JSON; reads its index only. */
export async function inspectOrbax(source: ObjectSource, isJson: boolean): Promise<string> {
  const orbax = await openOrbax(source, unzstd);
  const arrays = [...orbax.arrays.values()].map((array) => ({
    name: array.name,
    dtype: array.dtype,
    shape: array.shape,
    chunks: array.chunks.length,
    storedBytes: storedBytes(array),
  }));
  const unreadable = [...orbax.unreadable].map(([array, error]) => ({
    name: array,
    problem: error.message,
  }));
  const { name, layout } = orbax;
  if (isJson)
    return JSON.stringify({ name, layout, shape: shapeOf(orbax), arrays, unreadable }, null, 2);
  const total = arrays.reduce((sum, array) => sum + array.storedBytes, 0);
  const width = Math.max(...arrays.map((array) => array.name.length));
  return [
    `${name}: an Orbax checkpoint (${layout === 'ocdbt' ? 'OCDBT' : 'a directory for each array'}), ${counted(arrays.length, 'array')}, ${formatBytes(total)} stored`,
    ...describe(shapeOf(orbax)),
    '',
    ...arrays.map(
      ({ name: array, dtype, shape, chunks, storedBytes: bytes }) =>
        `${array.padEnd(width)}  ${dtype} [${shape.join(', ')}]  ${counted(chunks, 'chunk')}, ${formatBytes(bytes)}`,
    ),
    ...unreadable.map(({ problem }) => `Cannot be read: ${problem}`),
  ].join('\n');
}

/** null for checkpoints of other models: their arrays can be listed all the same. */
function shapeOf(orbax: OrbaxCheckpoint): FlaxShape | null {
  try {
    return readFlaxShape(nameParameters(orbax), orbax.name);
  } catch {
    return null;
  }
}

function describe(shape: FlaxShape | null): readonly string[] {
  if (shape === null) return ['Its arrays are not those of Gemma 3 in Flax.'];
  const vision =
    shape.vision === null ? 'text only' : `pictures of ${shape.vision.imageSize} pixels`;
  return [
    `Gemma in Flax: ${shape.layerCount} layers of width ${shape.hiddenSize}, ${shape.headCount} heads of ${shape.headDim} (${shape.kvHeadCount} for keys), ${shape.vocabRows} tokens, ${vision}`,
    'Make it servable: gemlet convert flax',
  ];
}
