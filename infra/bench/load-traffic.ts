import { readFileSync } from 'node:fs';
import type { LoadServer } from './load-server.ts';
import { createRandom } from './random.ts';
import { quantile } from './stats.ts';

export interface Spread {
  readonly p50: number;
  readonly p99: number;
  readonly slowestOverFastest: number;
}

export interface MemoryUse {
  /** One every 5 s, the first before the load and the last right after it. */
  readonly rssMb: readonly number[];
  /** Mean of the last third over the mean of the middle third; null when the run was too short. */
  readonly lastOverMiddle: number | null;
}

/** The system prompt that users of one application share. */
export const SYSTEM_PROMPT =
  'You look at pictures and say in few words what they show. Be exact, be kind.';

const PICTURE = 'infra/demo-model/example.png';
const QUESTIONS = ['Describe this image.', 'Hello!', 'What colour is it?', 'And the shape?'];
const SAMPLE_MS = 5000;
/** Fewer samples say nothing of a trend: the model's memory still grows with the first requests. */
const LEAST_SAMPLES = 6;

/** What a user says next, perhaps with a picture. */
export function question(random: () => number, withPicture: boolean): unknown {
  const text = QUESTIONS[Math.floor(random() * QUESTIONS.length)];
  if (!withPicture) return text;
  const picture = readFileSync(PICTURE).toString('base64');
  return [
    { type: 'image_url', image_url: { url: `data:image/png;base64,${picture}` } },
    { type: 'text', text },
  ];
}

/** Numbers of [0, 1), the same for the same seed. */
export function uniform(seed: string): () => number {
  const random = createRandom(seed);
  const word = new Uint32Array(1);
  return () => {
    random.draw(word);
    return (word[0] ?? 0) / 2 ** 32;
  };
}

export function spreadOf(values: readonly number[]): Spread {
  const at = (fraction: number): number => Math.round(quantile(values, fraction));
  return { p50: at(0.5), p99: at(0.99), slowestOverFastest: Number((at(1) / at(0)).toFixed(1)) };
}

/** Runs `work` and samples the server's memory meanwhile. */
export async function withMemory(
  server: LoadServer,
  work: () => Promise<void>,
): Promise<MemoryUse> {
  const samples: number[] = [];
  const sample = (): void => {
    const rssMb = server.rssMb();
    if (rssMb !== null) samples.push(Math.round(rssMb));
  };
  sample();
  const timer = setInterval(sample, SAMPLE_MS);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  sample();
  return { rssMb: samples, lastOverMiddle: trendOf(samples) };
}

/** Above 1 when the last third is higher than the middle one; memory that leaks keeps it there. */
export function trendOf(samples: readonly number[]): number | null {
  if (samples.length < LEAST_SAMPLES) return null;
  const third = Math.floor(samples.length / 3);
  const middle = mean(samples.slice(-2 * third, -third));
  return Number((mean(samples.slice(-third)) / middle).toFixed(3));
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
