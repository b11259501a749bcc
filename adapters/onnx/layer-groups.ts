import type { ModelConfig } from '../../src/model/config.ts';
import type { LinearInfo } from '../../src/weights/checkpoint.ts';

/** Layers [from, to) that form one session. */
export interface LayerGroup {
  readonly from: number;
  readonly to: number;
}

/** Below this many bytes a group costs more per step than it saves at load time. */
const SMALLEST_GROUP_BYTES = 400e6;
const LARGEST_GROUP_COUNT = 8;

/**
 * Splits the decoder into groups of about an eighth of its bytes, at least 400 MB: they load side
 * by side, and a prompt can run through the first while later ones still load.
 */
export function planLayerGroups(
  config: ModelConfig,
  infos: ReadonlyMap<string, LinearInfo>,
): LayerGroup[] {
  const { layerCount } = config.text;
  let bytes = 0;
  for (const info of infos.values()) {
    const values = info.outFeatures * info.inFeatures;
    bytes += info.type === 'int4' ? values / 2 + (4 * values) / info.groupSize : 4 * values;
  }
  const count = Math.min(
    LARGEST_GROUP_COUNT,
    layerCount,
    Math.max(1, Math.floor(bytes / SMALLEST_GROUP_BYTES)),
  );
  return Array.from({ length: count }, (_, i) => ({
    from: Math.round((i * layerCount) / count),
    to: Math.round(((i + 1) * layerCount) / count),
  }));
}
