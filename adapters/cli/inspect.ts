import { ringCapacity } from '../../src/engine/row-ring.ts';
import { inspectCheckpoint, type CheckpointReport } from '../../src/weights/inspect.ts';
import { isOrbax } from '../../src/flax/open-orbax.ts';
import { openModel } from '../../src/bundle/open-model.ts';
import { CHUNK_TOKENS } from '../node/engine-settings.ts';
import { formatBytes } from '../node/memory-fit.ts';
import { openModelSource } from '../node/open-source.ts';
import { ringOptionsFor } from '../onnx/ring-options.ts';
import { inspectOrbax } from './inspect-orbax.ts';
import type { InspectOptions } from './options.ts';

/** Describes a checkpoint as text, or as JSON. */
export async function inspect(options: InspectOptions): Promise<string> {
  const { source } = openModelSource(options.model, options.token ?? undefined);
  if (await isOrbax(source)) {
    try {
      return await inspectOrbax(source, options.isJson);
    } finally {
      await source.close();
    }
  }
  const checkpoint = await openModel(source);
  try {
    const ringTokens = ringCapacity(ringOptionsFor(checkpoint.config, CHUNK_TOKENS));
    const report = inspectCheckpoint(checkpoint, { ringTokens });
    return options.isJson ? JSON.stringify(report, null, 2) : reportText(report);
  } finally {
    await checkpoint.close();
  }
}

function reportText(report: CheckpointReport): string {
  const facts: readonly (readonly [string, string])[] = [
    ['model', report.name],
    ['architecture', `gemma3: ${report.architecture}`],
    ['parameters', `${(report.parameters.total / 1e6).toFixed(1)} million`],
    ['context', `${report.contextTokens} tokens`],
    ['vocabulary', `${report.vocabSize} rows`],
    ['files', `${report.files.length} (${formatBytes(report.sizeBytes)} of tensors)`],
  ];
  const tensors = report.tensors.map(({ kind, count, dtype, quantization, bytes }) => [
    kind,
    String(count),
    quantization === null ? dtype : `${quantization}, ${dtype} scales`,
    formatBytes(bytes),
  ]);
  const memory = report.memory.map(({ contextTokens, totalBytes }) => [
    `${contextTokens} tokens`,
    formatBytes(totalBytes),
  ]);
  const ignored =
    report.ignored.length === 0 ? [] : ['', `Not used: ${report.ignored.length} tensors`];
  return [
    ...columns(facts),
    '',
    ...columns([['tensors', 'count', 'stored as', 'size'], ...tensors]),
    '',
    ...columns([['one slot with', 'memory'], ...memory]),
    ...ignored,
  ].join('\n');
}

function columns(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  }
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
