import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import jpeg from 'jpeg-js';
import type { ChatMessage } from '../../src/prompt/messages.ts';
import { buildVocabulary } from '../../src/prompt/build-vocabulary.ts';
import { createRandom } from './random.ts';

/** A model's small files, and what is asked of it. */
export interface EdgeInputs {
  /** For the report: whose vocabulary it is. */
  readonly vocabulary: string;
  /** Of the bundle, by name. */
  readonly files: Readonly<Record<string, Uint8Array>>;
  readonly text: string;
  /** A JPEG of 1280 x 853. */
  readonly picture: Uint8Array;
}

/** Where the tests keep Gemma's own vocabulary, which is not part of this repository. */
const CACHE = 'node_modules/.cache/gemlet';
const DEMO = 'infra/demo-model';
const PICTURE = 'picture.jpg';
const TEXT = 'prompt.txt';
const WIDTH = 1280;
const HEIGHT = 853;
/** About 2,000 tokens of Gemma's vocabulary. */
const SENTENCES = 95;

const WORDS = (
  'the of and to in is that it was for on are as with his they at be this have from or one had by ' +
  'word but not what all were we when your can said there use an each which she do how their if ' +
  'will up other about out many then them these so some her would make like him into time has look ' +
  'photograph window mountain evening colour bicycle painted river street yellow building'
).split(' ');

/** @param vocabulary path of a compact vocabulary; default: Gemma's own if the tests fetched it */
export async function edgeInputs(vocabulary: string | undefined): Promise<EdgeInputs> {
  const path = vocabulary ?? cachedVocabulary();
  const compact =
    path === null
      ? await buildVocabulary(new Uint8Array(readFileSync(join(DEMO, 'tokenizer.json'))))
      : new Uint8Array(readFileSync(path));
  const config =
    path === null ? readFileSync(join(DEMO, 'config.json'), 'utf8') : JSON.stringify(GEMMA);
  const encoder = new TextEncoder();
  return {
    vocabulary: path === null ? 'the demo model (Gemma itself was not at hand)' : 'Gemma 3',
    files: {
      'config.json': encoder.encode(config),
      'preprocessor_config.json': encoder.encode('{}'),
      'vocabulary.bin': compact,
    },
    text: sentences(),
    picture: picture(),
  };
}

/** For a process that must not make them itself, since that takes more memory than their use. */
export function writeInputs(folder: string, inputs: EdgeInputs): void {
  for (const [name, bytes] of Object.entries({ ...inputs.files, [PICTURE]: inputs.picture })) {
    writeFileSync(join(folder, name), bytes);
  }
  writeFileSync(join(folder, TEXT), inputs.text);
}

export function readInputs(folder: string): EdgeInputs {
  const read = (name: string): Uint8Array => new Uint8Array(readFileSync(join(folder, name)));
  const names = readdirSync(folder).filter((name) => name !== PICTURE && name !== TEXT);
  return {
    vocabulary: '',
    files: Object.fromEntries(names.map((name) => [name, read(name)])),
    text: readFileSync(join(folder, TEXT), 'utf8'),
    picture: read(PICTURE),
  };
}

export function textMessages({ text }: EdgeInputs): ChatMessage[] {
  return [{ role: 'user', parts: [{ type: 'text', text }] }];
}

export function pictureMessages(inputs: EdgeInputs): ChatMessage[] {
  const source = { type: 'bytes', bytes: inputs.picture } as const;
  const image = { type: 'image', source, panAndScan: false, param: 'image' } as const;
  return [{ role: 'user', parts: [image, { type: 'text', text: inputs.text }] }];
}

/** The numbers of Gemma 3 27B that preparing needs. */
const GEMMA = {
  model_type: 'gemma3',
  mm_tokens_per_image: 256,
  boi_token_index: 255_999,
  eoi_token_index: 256_000,
  image_token_index: 262_144,
  text_config: { model_type: 'gemma3_text', vocab_size: 262_208 },
  vision_config: { model_type: 'siglip_vision_model', image_size: 896, patch_size: 14 },
};

function cachedVocabulary(): string | null {
  try {
    const names = readdirSync(CACHE).filter((name) => name.endsWith('.vocab'));
    const paths = names.map((name) => join(CACHE, name));
    return paths.toSorted((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0] ?? null;
  } catch {
    return null;
  }
}

function sentences(): string {
  const random = uniform('edge text');
  const lines = Array.from({ length: SENTENCES }, () => {
    const words = Array.from({ length: 20 }, () => WORDS[Math.floor(random() * WORDS.length)]);
    return `${words.join(' ')}.`;
  });
  return lines.join('\n');
}

/** Slopes, edges and a little noise: about as large a file as a photograph. */
function picture(): Uint8Array {
  const random = uniform('edge picture');
  const data = new Uint8Array(4 * WIDTH * HEIGHT);
  for (let y = 0, at = 0; y < HEIGHT; y++) {
    for (let x = 0; x < WIDTH; x++, at += 4) {
      const edge = (x >> 6) + (y >> 5) * 3;
      data[at] = (x / 5 + (edge % 7) * 9 + random() * 24) & 255;
      data[at + 1] = (y / 4 + (edge % 5) * 11 + random() * 24) & 255;
      data[at + 2] = ((x + y) / 8 + random() * 24) & 255;
      data[at + 3] = 255;
    }
  }
  return jpeg.encode({ data, width: WIDTH, height: HEIGHT }, 85).data;
}

/** Numbers in [0, 1). */
function uniform(seed: string): () => number {
  const random = createRandom(seed);
  const words = new Uint32Array(1024);
  let at = words.length;
  return () => {
    if (at === words.length) {
      random.draw(words);
      at = 0;
    }
    return (words[at++] ?? 0) / 2 ** 32;
  };
}
