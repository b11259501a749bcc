import { ServeError } from '../../errors.ts';
import type { EngineModel, PreparedPrompt, SamplingParams } from '../engine.ts';

/**
 * Checks a prompt before it takes a place in the queue.
 * @throws ServeError context_length_exceeded, invalid_request
 */
export function checkPrompt(
  model: EngineModel,
  prompt: PreparedPrompt,
  params: SamplingParams,
): void {
  const { tokens, images } = prompt;
  const { contextTokens } = model;
  if (tokens.length === 0) {
    throw new ServeError('invalid_request', 'The prompt is empty: send at least one token.');
  }
  if (tokens.length + params.maxTokens > contextTokens) {
    throw new ServeError(
      'context_length_exceeded',
      // OpenAI's words: clients find them, and the numbers in them, to shorten a conversation.
      `This model's maximum context length is ${contextTokens} tokens. However, you requested ` +
        `${tokens.length + params.maxTokens} tokens (${tokens.length} in the prompt, ` +
        `${params.maxTokens} in the completion). ${adviceOf(contextTokens - tokens.length)}`,
    );
  }
  const { vocabSize } = model.config.text;
  for (let at = 0; at < tokens.length; at++) {
    const id = tokens[at] ?? 0;
    if (id < 0 || id >= vocabSize) {
      throw new ServeError(
        'invalid_request',
        `Prompt token ${at} is ${id}; this model's ids are 0 to ${vocabSize - 1}.`,
      );
    }
  }
  checkAnswer(prompt, params, vocabSize);
  const vision = model.config.vision;
  if (vision === null) {
    if (images.length === 0) return;
    throw new ServeError(
      'invalid_request',
      `The prompt has ${images.length} image(s), but this model reads text only.`,
    );
  }
  let free = 0;
  for (const { position } of images) {
    const end = position + vision.tokensPerImage;
    if (position < free || end > tokens.length) {
      throw new ServeError(
        'invalid_request',
        `The image run at prompt token ${position} overlaps another or leaves the prompt.`,
      );
    }
    free = end;
  }
}

function adviceOf(left: number): string {
  if (left <= 0) return 'Shorten the prompt.';
  return `Shorten the prompt, or leave max_tokens out or lower it to at most ${left}.`;
}

function checkAnswer({ answer }: PreparedPrompt, params: SamplingParams, vocabSize: number): void {
  if (answer === undefined) return;
  if (answer.length > params.maxTokens) {
    throw new ServeError(
      'invalid_request',
      `The answer to go on from has ${answer.length} tokens, more than the ${params.maxTokens} asked for.`,
    );
  }
  const wrong = answer.find((id) => id < 0 || id >= vocabSize);
  if (wrong === undefined) return;
  throw new ServeError(
    'invalid_request',
    `The answer to go on from holds ${wrong}; this model's ids are 0 to ${vocabSize - 1}.`,
  );
}

/** Milliseconds, bounds of what a refused client is told to wait. */
const SHORTEST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 60_000;

/** Builds the refusal of a request that finds the queue full. */
export function queueFull(waiting: number, rowCount: number, meanSequenceMs: number): ServeError {
  return new ServeError(
    'queue_full',
    `All ${rowCount} rows are busy and ${waiting} requests wait already. Retry later.`,
    { retryAfterMs: retryMs((meanSequenceMs * (waiting + 1)) / rowCount) },
  );
}

/** Builds the refusal of a tenant's request that finds all places of its own taken. */
export function tenantFull(count: number, meanSequenceMs: number): ServeError {
  return new ServeError(
    'queue_full',
    `This API key has ${count} answers running or waiting, which is the most it may have. Retry when one is over.`,
    { retryAfterMs: retryMs(meanSequenceMs) },
  );
}

function retryMs(expectedMs: number): number {
  return Math.round(Math.min(LONGEST_RETRY_MS, Math.max(SHORTEST_RETRY_MS, expectedMs)));
}
