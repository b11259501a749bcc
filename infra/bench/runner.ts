import { writeFileSync } from 'node:fs';
import type { BenchEngine, EngineSettings } from './bench-engine.ts';
import { bytesOf } from './file-sink.ts';
import { busyMs, readProcessMemory } from './machine.ts';
import type { ProcessMemory } from './machine.ts';
import { collectLogits, measure } from './measure.ts';
import type { Measurement, MeasurePlan } from './measure.ts';

/** What one fresh process does: load one engine, then measure it or write down its logits. */
export interface RunSpec {
  readonly engine: EngineSpec;
  readonly settings: EngineSettings;
  readonly task:
    | { readonly type: 'measure'; readonly plan: MeasurePlan }
    | {
        readonly type: 'logits';
        readonly lengths: readonly number[];
        readonly vocabSize: number;
        /** Gets [lengths.length, vocabSize] fp32. */
        readonly path: string;
      };
}

export type EngineSpec =
  | { readonly type: 'gemlet'; readonly checkpoint: string }
  | {
      readonly type: 'llama';
      readonly toolFolder: string;
      readonly gguf: string;
      readonly flashAttention: boolean;
    };

export interface RunResult {
  readonly label: string;
  /** From nothing loaded, native library included, to ready; the files are in the page cache. */
  readonly loadMs: number;
  readonly memoryAfterLoad: ProcessMemory;
  readonly memoryAtEnd: ProcessMemory;
  /** Cores that other processes kept busy meanwhile; well under 0.1 on a quiet machine. */
  readonly foreignCores: number;
  /** null for the logits task */
  readonly measurement: Measurement | null;
}

export async function runSpec(spec: RunSpec): Promise<RunResult> {
  const start = performance.now();
  const busyAtStart = busyMs();
  const ownAtStart = process.cpuUsage();
  const engine = await loadEngine(spec);
  const loadMs = performance.now() - start;
  try {
    const memoryAfterLoad = readProcessMemory();
    const measurement = await runTask(engine, spec.task);
    const own = process.cpuUsage(ownAtStart);
    const foreignMs = busyMs() - busyAtStart - (own.user + own.system) / 1000;
    return {
      label: engine.label,
      loadMs,
      memoryAfterLoad,
      memoryAtEnd: readProcessMemory(),
      foreignCores: Math.max(0, foreignMs / (performance.now() - start)),
      measurement,
    };
  } finally {
    await engine.close();
  }
}

async function runTask(engine: BenchEngine, task: RunSpec['task']): Promise<Measurement | null> {
  if (task.type === 'measure') return await measure(engine, task.plan);
  const results = await collectLogits(engine, task.lengths, task.vocabSize);
  writeFileSync(task.path, Buffer.concat(results.map(bytesOf)));
  return null;
}

/** Imports only the engine asked for: the other one's libraries would count as its memory. */
async function loadEngine(spec: RunSpec): Promise<BenchEngine> {
  if (spec.engine.type === 'gemlet') {
    const { createGemletEngine } = await import('./gemlet-engine.ts');
    return await createGemletEngine({ ...spec.settings, ...spec.engine });
  }
  const { createLlamaEngine } = await import('./llama-engine.ts');
  return createLlamaEngine({ ...spec.settings, ...spec.engine });
}
