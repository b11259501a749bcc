import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createWasmCodecs, type LoadWasm } from '../../src/image/wasm-codecs.ts';
import { readImageFile } from '../support/golden-images.ts';

/** Node.js has it, its types do not. */
const wasm = (
  globalThis as unknown as {
    WebAssembly: {
      compile(bytes: Uint8Array): Promise<never>;
      readonly Instance: new (...args: never[]) => object;
    };
  }
).WebAssembly;
const require = createRequire(import.meta.url);
const files = {
  jpeg: '@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm',
  webp: '#webp-decoder.wasm',
};

async function readWasm(name: keyof typeof files): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await readFile(require.resolve(files[name])));
}

afterEach(() => vi.unstubAllGlobals());

describe('createWasmCodecs', () => {
  it('takes bytes and compiled modules alike, and loads each once for many pictures', async () => {
    let loads = 0;
    const counted =
      (load: LoadWasm): LoadWasm =>
      () => {
        loads += 1;
        return load();
      };
    const codecs = createWasmCodecs({
      jpeg: counted(() => readWasm('jpeg')),
      webp: counted(async () => wasm.compile(await readWasm('webp'))),
    });
    const pictures = await Promise.all([
      codecs.jpeg(readImageFile('baseline.jpg')),
      codecs.jpeg(readImageFile('gray.jpg')),
      codecs.webp(readImageFile('lossy.webp')),
      codecs.webp(readImageFile('lossless.webp')),
    ]);
    expect(pictures.map(({ width, height }) => `${width}x${height}`)).toEqual(
      Array<string>(4).fill('45x31'),
    );
    expect(loads).toBe(2);
  });

  it('starts a decoder anew for each picture, so that none meets what another left', async () => {
    let instances = 0;
    class CountedInstance extends wasm.Instance {
      constructor(...args: never[]) {
        super(...args);
        instances += 1;
      }
    }
    // Inherits the rest: its properties cannot be copied.
    const counting = Object.create(wasm, { Instance: { value: CountedInstance } }) as object;
    vi.stubGlobal('WebAssembly', counting);
    const codecs = createWasmCodecs({
      jpeg: () => readWasm('jpeg'),
      webp: () => readWasm('webp'),
    });
    const whole = readImageFile('progressive.jpg');
    const damaged = whole.slice();
    damaged[537] = (damaged[537] as number) ^ 0x5a;
    const before = await codecs.jpeg(whole);
    await expect(codecs.jpeg(damaged)).rejects.toBeDefined();
    expect(await codecs.jpeg(whole)).toEqual(before);
    expect(instances).toBe(3);
    const webp = await codecs.webp(readImageFile('lossy.webp'));
    expect(await codecs.webp(readImageFile('lossy.webp'))).toEqual(webp);
    expect(instances).toBe(5);
  });

  it('says that the decoder is to blame when its file cannot be loaded, and tries again', async () => {
    let attempts = 0;
    const codecs = createWasmCodecs({
      jpeg: () => {
        attempts += 1;
        return attempts === 1 ? Promise.reject(new Error('disk')) : readWasm('jpeg');
      },
      webp: () => readWasm('webp'),
    });
    const picture = readImageFile('baseline.jpg');
    await expect(codecs.jpeg(picture)).rejects.toMatchObject({ code: 'internal' });
    await expect(codecs.jpeg(picture)).resolves.toMatchObject({ width: 45, height: 31 });
  });
});
