import { statSync } from 'node:fs';
import { expect, it } from 'vitest';
import { TINY_FOLDER } from '../../support/onnx-model.ts';
import { runScript } from '../../support/run-script.ts';

const CYCLES = 200;
const SETTLED = 20;

/** Loads, uses and closes the model over and over; prints native bytes in use after each cycle. */
const SCRIPT = `
import { createFolderSource } from './adapters/node/folder-source.ts';
import { createOnnxBackend } from './adapters/onnx/backend.ts';
import { loadKoffi } from './adapters/onnx/koffi.ts';
import { openCheckpoint } from './src/weights/open-checkpoint.ts';

const koffi = loadKoffi();
const fields = ['arena', 'ordblks', 'smblks', 'hblks', 'hblkhd', 'usmblks', 'fsmblks', 'uordblks', 'fordblks', 'keepcost'];
const info = koffi.struct('mallinfo2', Object.fromEntries(fields.map((name) => [name, 'size_t'])));
const mallinfo2 = koffi.load('libc.so.6').func('mallinfo2', info, []);
const inUse: number[] = [];
for (let cycle = 0; cycle < ${CYCLES}; cycle++) {
  const checkpoint = await openCheckpoint(createFolderSource(${JSON.stringify(TINY_FOLDER)}));
  const backend = await createOnnxBackend({ checkpoint, precision: cycle % 2 === 0 ? 'exact' : 'fast', contextTokens: 128, rowCount: 2, threads: 2 });
  const tokens = Int32Array.from({ length: 20 }, (_, i) => i + 3);
  await backend.forward({ decode: [], chunk: { row: 0, start: 0, tokens, image: null, logits: 'last' } });
  await backend.forward({ decode: [{ row: 0, start: 20, token: 5 }], chunk: null });
  await backend.encodeImages(new Float32Array(3 * 56 * 56), 1);
  await backend.close();
  await checkpoint.close();
  globalThis.gc?.();
  await new Promise((resolve) => setImmediate(resolve));
  globalThis.gc?.();
  const { uordblks, hblkhd } = mallinfo2();
  inUse.push(Number(uordblks) + Number(hblkhd));
}
const maps = (await import('node:fs')).readFileSync('/proc/self/maps', 'utf8').split('\\n').length;
console.log(JSON.stringify({ inUse, maps }));
`;

it.runIf(process.platform === 'linux')(
  `gives its memory back over ${CYCLES} loads`,
  async () => {
    const output = await runScript(SCRIPT, { nodeArguments: ['--expose-gc'] });
    const { inUse, maps } = JSON.parse(output) as { inUse: number[]; maps: number };
    const modelBytes = statSync(`${TINY_FOLDER}model.safetensors`).size;
    // The least of a window: the JavaScript engine's own threads come and go in between.
    const least = (from: number): number => Math.min(...inUse.slice(from, from + SETTLED));
    const growth = least(CYCLES - SETTLED) - least(SETTLED);
    console.info(
      `${growth} bytes more in use after cycle ${CYCLES} than after ${SETTLED}; ${maps} mappings`,
    );
    expect(growth).toBeLessThan(0.05 * modelBytes * (CYCLES - SETTLED));
    expect(maps).toBeLessThan(1000);
  },
  120_000,
);
