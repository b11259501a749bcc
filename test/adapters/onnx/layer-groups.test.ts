import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { planLayerGroups } from '../../../adapters/onnx/layer-groups.ts';
import { parseModelConfig } from '../../../src/model/parse-config.ts';
import type { LinearInfo } from '../../../src/weights/checkpoint.ts';

it.each([
  { size: '270m', groups: 1 },
  { size: '1b', groups: 7 },
  { size: '4b', groups: 9 },
  { size: '27b', groups: 11 },
])('splits the $size into $groups groups that cover all layers once', ({ size, groups }) => {
  const path = new URL(`../../golden/configs/gemma-3-${size}.json`, import.meta.url);
  const config = parseModelConfig(JSON.parse(readFileSync(path, 'utf8')));
  const { layerCount, hiddenSize, intermediateSize, headCount, kvHeadCount, headDim } = config.text;
  const infos = new Map<string, LinearInfo>();
  for (let layer = 0; layer < layerCount; layer++) {
    const shapes = [
      [headCount * headDim, hiddenSize],
      [2 * kvHeadCount * headDim, hiddenSize],
      [hiddenSize, headCount * headDim],
      [3 * intermediateSize, hiddenSize],
    ] as const;
    for (const [i, [outFeatures, inFeatures]] of shapes.entries()) {
      const info = {
        type: 'int4',
        outFeatures,
        inFeatures,
        groupSize: 32,
        symmetric: true,
      } as const;
      infos.set(`${layer}.${i}`, info);
    }
  }
  const plan = planLayerGroups(config, infos);
  expect(plan).toHaveLength(groups);
  expect(plan[0]?.from).toBe(0);
  expect(plan.at(-1)?.to).toBe(layerCount);
  // What is left to do when the last byte has come is the last group.
  const last = plan.at(-1);
  if (groups > 1) expect((last?.to ?? 0) - (last?.from ?? 0)).toBe(1);
  for (const [i, group] of plan.slice(1).entries()) expect(group.from).toBe(plan[i]?.to);
});
