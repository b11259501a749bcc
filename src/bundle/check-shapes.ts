import { ServeError } from '../errors.ts';
import type { ModelConfig } from '../model/config.ts';
import { expectedTensors } from '../model/tensor-shapes.ts';
import type { BundleManifest, BundleStream, BundleTensor } from './manifest.ts';
import { tensorBytes } from './tensor-reader.ts';

/**
 * Checks that a bundle lists everything its config.json demands, in the right shape and within its streams.
 * @param where the source's name, for messages
 * @throws ServeError invalid_checkpoint naming the tensor, what was expected and what was found
 */
export function checkShapes(config: ModelConfig, manifest: BundleManifest, where: string): void {
  const { vocabSize, hiddenSize } = config.text;
  const { decoder, vision, table } = manifest;
  const streams = vision === null ? [decoder] : [decoder, vision];
  const listed = new Map<string, BundleTensor>();
  for (const stream of streams) {
    for (const tensor of stream.tensors) {
      checkPlace(tensor, stream, where);
      listed.set(tensor.name, tensor);
    }
  }
  for (const { name, shape, kind } of expectedTensors(config)) {
    if (name === 'embed_tokens') continue;
    const tensor = listed.get(name);
    if (tensor === undefined) {
      throw invalid(where, `it lacks ${name} [${shape.join(', ')}], which config.json demands`);
    }
    const found = shapeOf(tensor);
    const isRight = found.length === shape.length && found.every((size, at) => size === shape[at]);
    if (isRight && (tensor.type === 'float' || kind === 'linear')) continue;
    throw invalid(
      where,
      `${name} is ${tensor.type} [${found.join(', ')}], but config.json demands [${shape.join(', ')}]`,
    );
  }
  const head = listed.get('head') ?? listed.get('lm_head');
  for (const [name, [rows = 0, columns = 0]] of [
    ['the embedding table', [table.rows, table.columns]],
    ...(head === undefined ? [] : [['the output head', shapeOf(head)] as const]),
  ] as const) {
    // Padded to whole blocks where the checkpoint was.
    if (rows >= vocabSize && columns === hiddenSize) continue;
    throw invalid(
      where,
      `${name} is [${rows}, ${columns}], but config.json demands [${vocabSize}, ${hiddenSize}] or more rows`,
    );
  }
}

function checkPlace(tensor: BundleTensor, stream: BundleStream, where: string): void {
  const end = tensor.offset + tensorBytes(tensor);
  if (end <= stream.sizeBytes) return;
  throw invalid(where, `${tensor.name} ends at byte ${end} of ${stream.sizeBytes}`);
}

function shapeOf(tensor: BundleTensor): readonly number[] {
  switch (tensor.type) {
    case 'float':
      return tensor.shape;
    case 'int4':
      return [tensor.outFeatures, tensor.inFeatures];
    case 'head':
      return [tensor.rows, tensor.columns];
    default:
      return tensor satisfies never;
  }
}

function invalid(where: string, problem: string): ServeError {
  return new ServeError(
    'invalid_checkpoint',
    `${where}: ${problem}. Its manifest and its config.json are not of one model: run gemlet pack again.`,
  );
}
