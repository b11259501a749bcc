import { createRequire } from 'node:module';
import { createFolderSource } from '../../adapters/node/folder-source.ts';
import { createOnnxBackend } from '../../adapters/onnx/backend.ts';
import { chunkLength } from '../../src/engine/scheduler.ts';
import { openCheckpoint } from '../../src/weights/open-checkpoint.ts';
import type { BenchEngine, EngineSettings } from './bench-engine.ts';

export interface GemletSettings extends EngineSettings {
  /** A Hugging Face folder. */
  readonly checkpoint: string;
}

/** gemlet's ONNX Runtime backend on the CPU with the settings it serves with: int8 activations and head. */
export async function createGemletEngine(settings: GemletSettings): Promise<BenchEngine> {
  const checkpoint = await openCheckpoint(createFolderSource(settings.checkpoint));
  const backend = await createOnnxBackend({
    checkpoint,
    precision: 'fast',
    head: 'int8',
    contextTokens: settings.contextTokens,
    rowCount: 1,
    threads: settings.threads,
  });
  let logits: Float32Array = new Float32Array(0);
  const require = createRequire(import.meta.url);
  const runtime = require('onnxruntime-node/package.json') as { version: string };
  return {
    label: `gemlet (ONNX Runtime ${runtime.version}), fast, int8 head`,
    extend: async (tokens) => {
      let start = 0;
      while (start < tokens.length) {
        const left = tokens.length - start;
        const at = backend.length(0);
        if (left === 1) {
          const entry = { row: 0, start: at, token: tokens[start] ?? 0 };
          logits = (await backend.forward({ decode: [entry], chunk: null })).decode;
          return;
        }
        const size = chunkLength(left, backend.chunkTokens);
        const chunk = {
          row: 0,
          start: at,
          tokens: tokens.slice(start, start + size),
          image: null,
          logits: size === left ? ('last' as const) : ('none' as const),
        };
        logits = (await backend.forward({ decode: [], chunk })).chunk;
        start += size;
      }
    },
    logits: () => Promise.resolve(logits.slice()),
    reset: () => {
      backend.truncate(0, 0);
    },
    close: async () => {
      await backend.close();
      await checkpoint.close();
    },
  };
}
