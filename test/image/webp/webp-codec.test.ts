import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { decodeWebp } from '../../../src/image/webp/webp-codec.ts';
import { readImageFile } from '../../support/golden-images.ts';
import { infraFile } from '../../support/infra.ts';

/** Node.js has it, its types do not. */
interface WasmModule {
  readonly Module: new (bytes: Uint8Array) => Parameters<typeof decodeWebp>[0];
  readonly Instance: new (module: unknown) => { readonly exports: { version(): number } };
}
const wasm = (globalThis as unknown as { WebAssembly: WasmModule & { Module: ModuleApi } })
  .WebAssembly;
interface ModuleApi {
  imports(module: unknown): readonly unknown[];
}

const bytes = readFileSync(createRequire(import.meta.url).resolve('#webp-decoder.wasm'));
const module = new wasm.Module(bytes);

describe('webp-decoder.wasm', () => {
  it('is what infra/codecs/build-webp.sh builds, and small', () => {
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    expect(infraFile('codecs/build-webp.sh')).toContain(`WASM_SHA256=${sha256}\n`);
    expect(bytes.length).toBeLessThan(200_000);
  });

  it('holds libwebp 1.6.0, past CVE-2023-1999 and CVE-2023-4863', () => {
    expect(new wasm.Instance(module).exports.version()).toBe(0x01_06_00);
  });

  it('reaches nothing outside of its memory', () => {
    expect(wasm.Module.imports(module)).toEqual([]);
  });
});

describe('decodeWebp', () => {
  it('gives pixels with their alpha', () => {
    const image = decodeWebp(module, readImageFile('lossless-alpha.webp'));
    expect([image.width, image.height, image.data.length]).toEqual([45, 31, 45 * 31 * 4]);
    expect(image.data.some((value, at) => at % 4 === 3 && value < 255)).toBe(true);
  });

  it('throws for what is cut off, empty, animated or no WebP', () => {
    const whole = readImageFile('lossy.webp');
    const half = whole.subarray(0, whole.length >> 1);
    const others = [new Uint8Array(0), readImageFile('rgb.png'), readImageFile('animated.webp')];
    for (const file of [half, ...others]) {
      expect(() => decodeWebp(module, file)).toThrow('The decoder gave no picture.');
    }
  });
});
