import { createWriteStream, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createFolderSource } from '../../adapters/node/folder-source.ts';
import { nodeSha256 } from '../../adapters/node/sha256.ts';
import { startOnnxBackend } from '../../adapters/onnx/backend.ts';
import { createS3Store } from '../../adapters/s3/s3-store.ts';
import { MANIFEST_KEY } from '../../src/bundle/manifest.ts';
import { openModel } from '../../src/bundle/open-model.ts';
import { parseManifest } from '../../src/bundle/manifest.ts';
import { listObjects } from '../../src/bundle/verify.ts';
import { createLocalEngine } from '../../src/engine/local-engine.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { runBounded } from '../../src/lib/run-bounded.ts';
import type { ObjectSource } from '../../src/weights/object-source.ts';
import { benchPrompt, greedy } from './gemlet-streams.ts';
import { randomTokens } from './measure.ts';

export type ColdWay = 'streamed' | 'downloaded' | 'llama';

export interface ColdTask {
  readonly way: ColdWay;
  readonly origin: string;
  readonly toolFolder: string;
  readonly promptTokens: number;
  readonly contextTokens: number;
  readonly vocabSize: number;
  readonly threads: number;
}

export interface ColdResult {
  /** From the start of the process to the first token. */
  readonly firstTokenMs: number;
  /** Until the last byte that is needed had come. */
  readonly bytesMs: number;
  readonly peakRssBytes: number;
  /** Sums over sessions: filling their weights, and ONNX Runtime's own preparation. */
  readonly fillMs: number;
  readonly prepareMs: number;
  readonly note: string;
}

const FILES_AT_ONCE = 8;

// The link asks for no signature; the client wants something to sign with.
process.env['AWS_ACCESS_KEY_ID'] ??= 'bench';
process.env['AWS_SECRET_ACCESS_KEY'] ??= 'bench';

/** Runs in a fresh process: everything from nothing to the first token. */
export async function runCold(task: ColdTask): Promise<ColdResult> {
  return task.way === 'llama' ? runLlama(task) : runGemlet(task);
}

async function runGemlet(task: ColdTask): Promise<ColdResult> {
  const folder = task.way === 'downloaded' ? mkdtempSync(join(tmpdir(), 'gemlet-cold-')) : null;
  try {
    let bytesMs = 0;
    if (folder !== null) {
      await downloadBundle(task.origin, folder);
      bytesMs = performance.now();
    }
    const source: ObjectSource =
      folder === null
        ? createS3Store({ url: 's3://bucket', endpoint: task.origin, region: 'us-east-1' })
        : createFolderSource(folder);
    const checkpoint = await openModel(source, {
      sha256: nodeSha256,
      onProgress: (loaded, total) => {
        if (folder === null && loaded === total) bytesMs = performance.now();
      },
    });
    let fillMs = 0;
    let prepareMs = 0;
    const backend = await startOnnxBackend({
      checkpoint,
      precision: 'fast',
      head: checkpoint.storedHead?.format ?? 'int8',
      contextTokens: task.contextTokens,
      rowCount: 1,
      threads: task.threads,
      onSession: (times) => {
        fillMs += times.fillMs;
        prepareMs += times.createMs;
      },
    });
    const engine = createLocalEngine({
      backend,
      tokens: { vocabSize: task.vocabSize, bytes: () => new Uint8Array(0), suppressed: [] },
      model: {
        config: checkpoint.config,
        contextTokens: task.contextTokens,
        precision: 'fast',
      },
      toPixels: () => new Float32Array(0),
      clock: systemClock,
      maxWaiting: 4,
    });
    const prompt = benchPrompt(randomTokens('cold', task.promptTokens, task.vocabSize));
    let firstTokenMs = 0;
    for await (const event of engine.generate(prompt, greedy(1))) {
      if (event.type === 'token') firstTokenMs = performance.now();
    }
    const result = { firstTokenMs, bytesMs, peakRssBytes: peakRssBytes(), fillMs, prepareMs };
    await engine.close();
    await checkpoint.close();
    const groups = 'first token through the whole engine';
    return { ...result, note: groups };
  } finally {
    if (folder !== null) rmSync(folder, { recursive: true, force: true });
  }
}

async function downloadBundle(origin: string, folder: string): Promise<void> {
  const manifestText = await (await fetch(`${origin}/bucket/${MANIFEST_KEY}`)).text();
  const manifest = parseManifest(JSON.parse(manifestText), origin);
  const keys = [MANIFEST_KEY, ...listObjects(manifest).map(({ key }) => key)];
  mkdirSync(join(folder, 'parts'));
  await runBounded(keys.length, FILES_AT_ONCE, async (at) => {
    const key = keys[at] ?? '';
    await download(`${origin}/bucket/${key}`, join(folder, key));
  });
}

async function download(url: string, path: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  const response = await fetch(url);
  if (!response.ok || response.body === null) throw new Error(`${url}: ${response.status}`);
  await pipeline(Readable.fromWeb(response.body), createWriteStream(path));
}

async function runLlama(task: ColdTask): Promise<ColdResult> {
  const folder = mkdtempSync(join(tmpdir(), 'gemlet-cold-'));
  try {
    const gguf = join(folder, 'model.gguf');
    await download(`${task.origin}/bucket/model.gguf`, gguf);
    const bytesMs = performance.now();
    const { createLlamaEngine } = await import('./llama-engine.ts');
    const engine = createLlamaEngine({
      toolFolder: task.toolFolder,
      gguf,
      flashAttention: true,
      threads: task.threads,
      contextTokens: task.contextTokens,
    });
    await engine.extend(randomTokens('cold', task.promptTokens, task.vocabSize));
    await engine.logits();
    const firstTokenMs = performance.now();
    await engine.close();
    const note = 'weights memory-mapped from the file';
    return { firstTokenMs, bytesMs, peakRssBytes: peakRssBytes(), fillMs: 0, prepareMs: 0, note };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function peakRssBytes(): number {
  const line = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(line?.[1] ?? 0) * 1024;
}
