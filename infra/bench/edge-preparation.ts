import { createNodeImageDecoder } from '../../adapters/node/image-decoder.ts';
import { prepareWith } from '../../src/image/prepare-picture.ts';
import { describeFromFiles } from '../../src/fleet/describe-model.ts';
import { createImageLoader } from '../../src/image/load-image.ts';
import type { ChatMessage } from '../../src/prompt/messages.ts';
import { createPreparer, type Preparer } from '../../src/prompt/prepare.ts';
import type { ObjectSource } from '../../src/weights/object-source.ts';
import { type EdgeInputs, pictureMessages, textMessages } from './edge-inputs.ts';

/** What preparing took, in a process of its own. */
export interface PreparationRun {
  readonly tokens: number;
  /** Milliseconds of each preparation after the first. */
  readonly ms: readonly number[];
  readonly firstMs: number;
  /** Processor time of each, all threads, on average; in milliseconds. */
  readonly cpuMs: number;
  /** Most resident memory of the process so far, in MB. */
  readonly peakMb: number;
}

export interface PreparationReport {
  /** Milliseconds to read description and vocabulary. */
  readonly describeMs: number;
  /** Resident memory when the process had started and read its inputs, in MB. */
  readonly startMb: number;
  readonly text: PreparationRun;
  readonly picture: PreparationRun;
}

const CONTEXT_TOKENS = 8_192;

/** Prepares in this process, which should be a fresh one with a small heap. */
export async function measurePreparation(
  inputs: EdgeInputs,
  rounds: number,
): Promise<PreparationReport> {
  const startMb = residentMb();
  const startedMs = performance.now();
  const preparer = await createBenchPreparer(inputs);
  const describeMs = performance.now() - startedMs;
  const text = await repeat(preparer, textMessages(inputs), rounds);
  const picture = await repeat(preparer, pictureMessages(inputs), rounds);
  return { describeMs, startMb, text, picture };
}

async function createBenchPreparer({ files }: EdgeInputs): Promise<Preparer> {
  const options = { id: 'bench', contextTokens: CONTEXT_TOKENS, createdSeconds: 0 };
  const { card, config, image, tokenizer } = await describeFromFiles(sourceOf(files), options);
  if (image === null) throw new RangeError('the model sees nothing');
  const { contextTokens } = card;
  const loadImage = createImageLoader({
    prepare: prepareWith(createNodeImageDecoder()),
    fetchUrl: null,
    config: image,
  });
  return createPreparer({ tokenizer, model: config, contextTokens, loadImage });
}

async function repeat(
  preparer: Preparer,
  messages: readonly ChatMessage[],
  rounds: number,
): Promise<PreparationRun> {
  const ms: number[] = [];
  let tokens = 0;
  let before = process.cpuUsage();
  for (let round = 0; round <= rounds; round++) {
    if (round === 1) before = process.cpuUsage();
    const startedMs = performance.now();
    const prompt = await preparer.prepare({
      type: 'chat',
      messages,
      strict: false,
      addGenerationPrompt: true,
      continueFinalMessage: false,
    });
    ms.push(performance.now() - startedMs);
    tokens = prompt.tokens.length;
  }
  const { user, system } = process.cpuUsage(before);
  const cpuMs = (user + system) / 1_000 / rounds;
  const [firstMs = 0, ...later] = ms;
  return { tokens, ms: later, firstMs, cpuMs, peakMb: process.resourceUsage().maxRSS / 1_000 };
}

function sourceOf(files: EdgeInputs['files']): ObjectSource {
  return {
    name: 'bench',
    head: async (key) => {
      const bytes = files[key];
      return bytes === undefined ? null : { sizeBytes: bytes.length, etag: null };
    },
    async read(key, offset, target) {
      target.set(files[key]?.subarray(offset, offset + target.length) ?? []);
    },
    close: async () => undefined,
  };
}

function residentMb(): number {
  return process.memoryUsage.rss() / 1e6;
}
