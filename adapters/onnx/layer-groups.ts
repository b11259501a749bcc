import type { ModelConfig } from '../../src/model/config.ts';
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
 * later ones still load. The last ones are small: what is left to do when the last byte has come is
 * to rearrange and run the last group.
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
  const largest = Math.max(1, smallest, Math.ceil(layerCount / LARGEST_PART));
  const groups: LayerGroup[] = [];
  for (let from = 0; from < layerCount;) {
    const left = layerCount - from;
    // A model too small to be worth it stays whole.
    const size = largest >= layerCount ? left : Math.min(largest, Math.ceil(left / 2));
    groups.push({ from, to: from + size });
    from += size;
  }
  return groups;
}
