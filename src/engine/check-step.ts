import type { ModelConfig } from '../model/config.ts';
import type { ForwardStep, PrefillChunk } from './backend.ts';

export interface StepLimits {
  readonly config: ModelConfig;
  readonly rowCount: number;
  readonly rowTokens: number;
  readonly chunkTokens: number;
}

/**
 * For backends: checks a step against the contract of `Backend.forward`, before anything is changed, so that
 * bookkeeping mistakes become errors instead of nonsense text.
 * @param lengthOf tokens now held by a row
 * @throws RangeError naming the entry that breaks it
 */
export function checkStep(
  step: ForwardStep,
  limits: StepLimits,
  lengthOf: (row: number) => number,
): void {
  const { config, rowTokens } = limits;
  let before = -1;
  for (const { row, start, token } of step.decode) {
    if (row <= before) throw new RangeError('decode rows must ascend');
    before = row;
    checkStart(row, start, lengthOf(row));
    checkToken(token, config);
    if (start >= rowTokens) throw new RangeError(`row ${row} is full with ${rowTokens} tokens`);
  }
  const { chunk } = step;
  if (chunk === null) return;
  if (step.decode.some(({ row }) => row === chunk.row)) {
    throw new RangeError(`row ${chunk.row} is both decoded and prefilled`);
  }
  checkStart(chunk.row, chunk.start, lengthOf(chunk.row));
  for (const token of chunk.tokens) checkToken(token, config);
  checkChunkLength(chunk, limits);
}

function checkChunkLength(chunk: PrefillChunk, limits: StepLimits): void {
  const { config, rowTokens, chunkTokens } = limits;
  const count = chunk.tokens.length;
  if (chunk.start + count > rowTokens) {
    throw new RangeError(`row ${chunk.row} holds ${rowTokens} tokens, not ${chunk.start + count}`);
  }
  if (chunk.image === null) {
    if (count >= 1 && count <= chunkTokens) return;
    throw new RangeError(`a text chunk has 1 to ${chunkTokens} tokens, not ${count}`);
  }
  if (config.vision === null) throw new RangeError('this model has no vision tower');
  const { tokensPerImage } = config.vision;
  if (count !== tokensPerImage) {
    throw new RangeError(`an image run has exactly ${tokensPerImage} tokens, not ${count}`);
  }
  if (chunk.image.length !== tokensPerImage * config.text.hiddenSize) {
    throw new RangeError(`an image has ${tokensPerImage} x ${config.text.hiddenSize} values`);
  }
}

function checkStart(row: number, start: number, length: number): void {
  if (start !== length) {
    throw new RangeError(`row ${row} holds ${length} tokens, but the step starts at ${start}`);
  }
}

function checkToken(token: number, config: ModelConfig): void {
  const { vocabSize } = config.text;
  if (!Number.isInteger(token) || token < 0 || token >= vocabSize) {
    throw new RangeError(`token ${token} is not one of 0 to ${vocabSize - 1}`);
  }
}
