import type { LocalEngineOptions } from './local-engine.ts';

/** A text part of 3 tokens must fit whole, or a chunk of one token could not be avoided. */
const SMALLEST_CHUNK_TOKENS = 3;

/** @throws RangeError when backend, model and queue do not fit together */
export function checkFit({
  backend,
  model,
  maxWaiting,
}: Pick<LocalEngineOptions, 'backend' | 'model' | 'maxWaiting'>): void {
  if (model.contextTokens > backend.rowTokens) {
    throw new RangeError(
      `a context of ${model.contextTokens} tokens needs rows as long, not ${backend.rowTokens}`,
    );
  }
  if (backend.chunkTokens < SMALLEST_CHUNK_TOKENS) {
    throw new RangeError(`chunkTokens must be at least ${SMALLEST_CHUNK_TOKENS}`);
  }
  if (!Number.isInteger(maxWaiting) || maxWaiting < 0) {
    throw new RangeError(`maxWaiting must be a whole number from 0 on, not ${maxWaiting}`);
  }
}
