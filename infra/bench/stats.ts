/** Linear interpolation between order statistics; `fraction` 0..1, 0.5 is the median. */
export function quantile(values: readonly number[], fraction: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (sorted.length - 1) * fraction;
  const below = sorted[Math.floor(at)] ?? NaN;
  const above = sorted[Math.ceil(at)] ?? NaN;
  return below + (above - below) * (at - Math.floor(at));
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export interface LogitAgreement {
  readonly sameTop: boolean;
  /** Of log probabilities over the whole vocabulary. */
  readonly correlation: number;
  /** Mean absolute difference of log probabilities, in nats. */
  readonly meanDifference: number;
}

/** How far two engines agree about the next token; both [vocabSize]. */
export function compareLogits(a: Float32Array, b: Float32Array): LogitAgreement {
  if (a.length !== b.length) {
    throw new RangeError(`${a.length} logits cannot be compared with ${b.length}`);
  }
  const logA = logProbabilities(a);
  const logB = logProbabilities(b);
  const meanA = mean(logA);
  const meanB = mean(logB);
  let cross = 0;
  let squareA = 0;
  let squareB = 0;
  let difference = 0;
  for (let i = 0; i < logA.length; i += 1) {
    const x = (logA[i] ?? 0) - meanA;
    const y = (logB[i] ?? 0) - meanB;
    cross += x * y;
    squareA += x * x;
    squareB += y * y;
    difference += Math.abs((logA[i] ?? 0) - (logB[i] ?? 0));
  }
  return {
    sameTop: argmax(a) === argmax(b),
    correlation: cross / Math.sqrt(squareA * squareB),
    meanDifference: difference / logA.length,
  };
}

function logProbabilities(logits: Float32Array): Float64Array {
  let largest = -Infinity;
  for (const logit of logits) largest = Math.max(largest, logit);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - largest);
  const offset = largest + Math.log(sum);
  return Float64Array.from(logits, (logit) => logit - offset);
}

function mean(values: Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i += 1) {
    if ((values[i] ?? 0) > (values[best] ?? 0)) best = i;
  }
  return best;
}
