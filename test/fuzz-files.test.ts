import { describe, expect, it } from 'vitest';
import { createNodeImageDecoder } from '../adapters/node/image-decoder.ts';
import { MANIFEST_KEY, parseManifest } from '../src/bundle/manifest.ts';
import { packCheckpoint } from '../src/bundle/pack.ts';
import { ServeError } from '../src/errors.ts';
import { encodeCall, LENGTH_BYTES, parseCall } from '../src/fleet/wire-call.ts';
import { parseModelConfig } from '../src/model/parse-config.ts';
import { buildVocabulary } from '../src/prompt/build-vocabulary.ts';
import { loadVocabulary } from '../src/prompt/vocabulary.ts';
import { openCheckpoint } from '../src/weights/open-checkpoint.ts';
import { readJson } from '../src/weights/read-json.ts';
import { readSafetensorsHeader } from '../src/weights/safetensors.ts';
import { readDemoFile } from './support/demo-model.ts';
import { testPrompt, GREEDY } from './support/engine-harness.ts';
import { readImageFile } from './support/golden-images.ts';
import { memorySource } from './support/memory-source.ts';
import { memoryStore } from './support/memory-store.ts';
import { garbled } from './support/mutant.ts';
import { createSeededRandom } from './support/seeded-random.ts';
import { floatTensor, writeSafetensors } from './support/safetensors-writer.ts';
import { syntheticCheckpoint } from './support/synthetic-checkpoint.ts';
import { tokenizerJson } from './support/tokenizer-json.ts';

const decoder = createNodeImageDecoder();
const utf8 = (value: unknown): Uint8Array<ArrayBuffer> =>
  new TextEncoder().encode(JSON.stringify(value));
const parsed = (bytes: Uint8Array): unknown => {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined; // whoever reads the file says that it is no JSON
  }
};
const tokenizer = utf8(tokenizerJson({ pieces: ['a', 'b', 'ab', '\u2581', '\u2581a'] }));
const weights = writeSafetensors({
  a: floatTensor('F32', [2, 2], Float32Array.of(1, 2, 3, 4)),
  b: floatTensor('BF16', [3], Float32Array.of(1, 2, 3)),
});
const call = encodeCall({
  id: 'a-call',
  fingerprint: 'f',
  prompt: testPrompt('hello'),
  params: GREEDY,
  blobs: [],
}).subarray(LENGTH_BYTES);
const manifest = await packedManifest();
const picture = (name: string): Format => [
  name,
  readImageFile(name),
  (bytes) => decoder.decode(bytes),
  60,
];

type Format = readonly [
  name: string,
  good: Uint8Array,
  read: (bytes: Uint8Array<ArrayBuffer>) => unknown,
  count: number,
];

/** Whatever comes from outside as bytes, beside bodies of requests. */
const FORMATS: readonly Format[] = [
  [
    'safetensors',
    weights,
    (bytes) => readSafetensorsHeader(memorySource({ f: bytes }), 'f'),
    2_000,
  ],
  ['tokenizer.json', tokenizer, (bytes) => buildVocabulary(bytes), 500],
  ['vocabulary', await buildVocabulary(tokenizer), (bytes) => loadVocabulary(bytes), 2_000],
  ['config.json', readDemoFile('config.json'), (bytes) => parseModelConfig(parsed(bytes)), 2_000],
  ['bundle.json', manifest, (bytes) => parseManifest(parsed(bytes), 'bundle'), 2_000],
  ['call of a gateway', call, (bytes) => parseCall(bytes), 2_000],
  ...[
    'rgb.png',
    'interlaced.png',
    'palette.png',
    'rgb-16-bits.png',
    'plain.gif',
    'interlaced.gif',
    'baseline.jpg',
    'progressive.jpg',
    'with-comment-and-profile.jpg',
    'lossy.webp',
    'lossless.webp',
  ].map(picture),
];

/** More of them, for so many seconds a format. */
const SECONDS = Number(process.env['GEMLET_FUZZ_SECONDS'] ?? 0);

describe('mutants of good bytes', () => {
  it.each(FORMATS)(
    'are read or refused in our own words: %s',
    { timeout: 60_000 + SECONDS * 1000 },
    async (_name, good, read, count) => {
      const untilMs = performance.now() + SECONDS * 1000;
      // A mutant of what is not read in the first place would test little.
      await read(Uint8Array.from(good));
      let refused = 0;
      for (let seed = 1; seed <= count || performance.now() < untilMs; seed++) {
        const bytes = Uint8Array.from(garbled(good, createSeededRandom(seed)));
        try {
          await read(bytes);
        } catch (error) {
          refused++;
          if (!ServeError.is(error) || error.code === 'internal') {
            throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
          }
        }
      }
      expect(refused).toBeGreaterThan(0);
    },
  );
});

/** Of a small model that was packed. */
async function packedManifest(): Promise<Uint8Array<ArrayBuffer>> {
  const { configJson, tensors } = syntheticCheckpoint({
    names: 'old',
    groupSize: 32,
    scaleDtype: 'BF16',
  });
  const checkpoint = await openCheckpoint(
    memorySource({
      'config.json': configJson,
      'model.safetensors': writeSafetensors(tensors),
      'tokenizer.json': { some: 'tokenizer' },
    }),
  );
  const store = memoryStore();
  await packCheckpoint({
    checkpoint,
    source: checkpoint.source,
    store,
    buildVocabulary: async (json) => json.slice(0, 5),
    partBytes: 4096,
  });
  return utf8(await readJson(store, MANIFEST_KEY));
}
