import { openModel } from '../../src/bundle/open-model.ts';
import type { ModelCard } from '../../src/completer.ts';
import type { ModelConfig } from '../../src/model/config.ts';
import type { MemoryTable } from '../../src/model/memory.ts';
import type { OpenedCheckpoint } from '../../src/weights/open-checkpoint.ts';
import { resolveSettings, type EngineOptions, type EngineSettings } from './engine-settings.ts';
import { DEMO_MODEL, openModelSource } from './open-source.ts';

/** What is known of a model before its weights are loaded. */
export interface DescribedModel {
  /** `vocabSize` counts the rows of the embedding, some of which may have no token. */
  readonly card: ModelCard;
  readonly config: ModelConfig;
  /** Where the memory would go. */
  readonly memory: MemoryTable;
  /** Bytes that the process may take now. */
  readonly availableBytes: number;
}

/**
 * Describes the model that `createEngine` would load with these options: reads configs and the headers
 * of the weight files, no weights and no tokenizer.
 * @throws ServeError weights_unavailable, invalid_checkpoint, unsupported_model; RangeError for options
 *   that the model cannot have; the signal's reason on abort
 */
export async function describeModel(options: EngineOptions = {}): Promise<DescribedModel> {
  const { source, id } = openModelSource(options.model ?? DEMO_MODEL, options.token);
  const checkpoint = await openModel(source, { signal: options.signal });
  try {
    const settings = resolveSettings(checkpoint, options);
    return {
      card: cardOf(checkpoint, settings, options.id ?? id),
      config: checkpoint.config,
      memory: settings.memory,
      availableBytes: settings.availableBytes,
    };
  } finally {
    await checkpoint.close();
  }
}

/** @param id what clients call the model */
export function cardOf(
  checkpoint: OpenedCheckpoint,
  settings: EngineSettings,
  id: string,
): ModelCard {
  const { config, defaults, fingerprint } = checkpoint;
  return {
    id,
    createdSeconds: Math.floor(Date.now() / 1000),
    contextTokens: settings.contextTokens,
    precision: settings.precision,
    fingerprint,
    acceptsImages: config.vision !== null,
    vocabSize: config.text.vocabSize,
    defaults,
  };
}
