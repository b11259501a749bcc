import type { ModelConfig } from '../../src/model/config.ts';
import { layersBeforeHead } from '../../src/model/load-order.ts';
import type { LinearInfo } from '../../src/weights/checkpoint.ts';

/** Layers [from, to) that form one session. */
export interface LayerGroup {
  readonly from: number;
  readonly to: number;
}

/** Below this many bytes a group costs more per step than it saves at load time. */
const SMALLEST_GROUP_BYTES = 90e6;
/** Groups are at most about this part of the decoder. */
const LARGEST_PART = 8;

/**
 * Splits the decoder into groups that load side by side, and through which a prompt can run while
 * later ones still load. Those behind the head get smaller and smaller: what is left to do when the
 * last byte has come is to rearrange and run the last group.
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
  const smallest = Math.ceil((SMALLEST_GROUP_BYTES * layerCount) / Math.max(1, bytes));
  const largest = Math.max(smallest, Math.ceil(layerCount / LARGEST_PART));
  // A model too small to be worth it stays whole.
  if (largest >= layerCount) return [{ from: 0, to: layerCount }];
  const before = layersBeforeHead(layerCount);
  const count = Math.ceil(before / largest);
  const groups = Array.from({ length: count }, (_, i) => ({
    from: Math.round((i * before) / count),
    to: Math.round(((i + 1) * before) / count),
  }));
  for (let from = before; from < layerCount;) {
    const to = from + Math.min(largest, Math.ceil((layerCount - from) / 2));
    groups.push({ from, to });
    from = to;
  }
  return groups;
}
