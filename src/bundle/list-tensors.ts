import type { TensorInfo } from '../weights/checkpoint.ts';
import { FLOAT_SIZE } from '../weights/dtype.ts';
import type { BundleManifest, BundleTensor } from './manifest.ts';

/** The tensors of a bundle under the names and shapes of the checkpoint it was made from. */
export function listTensors(manifest: BundleManifest): ReadonlyMap<string, TensorInfo> {
  const { table } = manifest;
  const tensors = new Map<string, TensorInfo>();
  const dtype = table.format === 'int4' ? 'BF16' : table.format;
  tensors.set('embed_tokens', {
    dtype,
    shape: [table.rows, table.columns],
    sizeBytes: table.parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
  });
  for (const { tensors: listed } of [
    manifest.decoder,
    ...(manifest.vision ? [manifest.vision] : []),
  ]) {
    for (const tensor of listed)
      for (const [name, info] of infosOf(tensor)) tensors.set(name, info);
  }
  return tensors;
}

function infosOf(tensor: BundleTensor): readonly (readonly [string, TensorInfo])[] {
  if (tensor.type === 'head') return [];
  if (tensor.type === 'float') {
    const { name, dtype, shape } = tensor;
    const values = shape.reduce((product, dim) => product * dim, 1);
    return [[name, { dtype, shape, sizeBytes: values * FLOAT_SIZE[dtype] }]];
  }
  const { name, outFeatures, inFeatures, groupSize, scales, symmetric } = tensor;
  const groups = inFeatures / groupSize;
  const words = outFeatures / 8;
  const list: [string, TensorInfo][] = [
    [
      `${name}.qweight`,
      { dtype: 'I32', shape: [inFeatures, words], sizeBytes: inFeatures * words * 4 },
    ],
    [
      `${name}.scales`,
      {
        dtype: scales,
        shape: [groups, outFeatures],
        sizeBytes: groups * outFeatures * FLOAT_SIZE[scales],
      },
    ],
  ];
  if (!symmetric) {
    list.push([
      `${name}.qzeros`,
      { dtype: 'I32', shape: [groups, words], sizeBytes: groups * words * 4 },
    ]);
  }
  return list;
}
