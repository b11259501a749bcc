import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { VOCABULARY_KEY } from '../../src/bundle/manifest.ts';
import { ServeError } from '../../src/errors.ts';
import { createTokenizer } from '../../src/prompt/bpe-tokenizer.ts';
import { buildVocabulary } from '../../src/prompt/build-vocabulary.ts';
import type { Tokenizer } from '../../src/prompt/tokenizer.ts';
import { loadVocabulary } from '../../src/prompt/vocabulary.ts';
import type { ObjectSource } from '../../src/weights/object-source.ts';
import { cacheFolder } from './library/cache-folder.ts';

const FILE = 'tokenizer.json';
/** Names the format of the compact vocabulary, so that a newer gemlet does not read an older one's. */
const CACHE_VERSION = 1;

export interface LoadedTokenizer {
  readonly tokenizer: Tokenizer;
  /** The compact vocabulary it was made of. */
  readonly vocabulary: Uint8Array;
}

/**
 * Builds the tokenizer: from a bundle's compact vocabulary, else from a checkpoint's tokenizer.json.
 * For the real vocabulary that takes seconds, so the compact form is kept in the user's cache folder
 * under the hash of its source.
 */
export async function loadTokenizer(
  source: ObjectSource,
  signal?: AbortSignal,
): Promise<LoadedTokenizer> {
  const compact = await source.head(VOCABULARY_KEY, signal);
  if (compact !== null) {
    const bytes = new Uint8Array(compact.sizeBytes);
    await source.read(VOCABULARY_KEY, 0, bytes, signal);
    return open(bytes);
  }
  const info = await source.head(FILE, signal);
  if (info === null) {
    throw new ServeError(
      'invalid_checkpoint',
      `${source.name} has no ${FILE}. Download it from the model's page on the Hugging Face hub and put it beside config.json.`,
    );
  }
  const json = new Uint8Array(info.sizeBytes);
  await source.read(FILE, 0, json, signal);
  const digest = createHash('sha256').update(json).digest('hex');
  const cached = join(cacheFolder(), `vocabulary-v${CACHE_VERSION}-${digest}.bin`);
  try {
    return open(new Uint8Array(await readFile(cached)));
  } catch {
    // Absent or unreadable: built anew.
  }
  const vocabulary = await buildVocabulary(json);
  await keep(cached, vocabulary);
  return open(vocabulary);
}

function open(vocabulary: Uint8Array): LoadedTokenizer {
  return { vocabulary, tokenizer: createTokenizer(loadVocabulary(vocabulary)) };
}

async function keep(path: string, bytes: Uint8Array): Promise<void> {
  try {
    await mkdir(cacheFolder(), { recursive: true });
    const temporary = `${path}.${process.pid}`;
    await writeFile(temporary, bytes);
    await rename(temporary, path);
  } catch {
    // A read-only home only costs the seconds again next time.
  }
}
