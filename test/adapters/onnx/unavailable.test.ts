import { expect, it } from 'vitest';
import { runScript } from '../../support/run-script.ts';

/** Opens the library in a process of its own: one process opens it once. */
function openWith(library: string): Promise<string> {
  return runScript(
    `import { openOrtApi } from './adapters/onnx/ort-api.ts';
     try { openOrtApi(); console.log('opened'); } catch (error) { console.log(error.code, error.message); }`,
    { env: { GEMLET_ORT_LIBRARY: library } },
  );
}

it('says which library is missing and which version it wants', async () => {
  const text = await openWith('/nowhere/libonnxruntime.so');
  expect(text).toContain('backend_unavailable');
  expect(text).toContain('/nowhere/libonnxruntime.so');
  expect(text).toContain('1.30.0');
});

it('says so when the library is something else', async () => {
  expect(await openWith('libc.so.6')).toContain('backend_unavailable');
});
