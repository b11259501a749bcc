import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { ringOptionsFor } from '../../../adapters/onnx/ring-options.ts';
import { ringCapacity } from '../../../src/engine/row-ring.ts';
import { parseModelConfig } from '../../../src/model/parse-config.ts';

// What was measured: the smallest moves that keep the bits, by width of the heads and size of L2.
it.each([
  { size: '1b', l2KiB: 512, align: 128, capacity: 896 },
  { size: '4b', l2KiB: 512, align: 128, capacity: 1408 },
  { size: '4b', l2KiB: 2048, align: 256, capacity: 1536 },
  { size: '27b', l2KiB: 512, align: 128, capacity: 1408 },
  { size: '27b', l2KiB: 2048, align: 512, capacity: 2048 },
  { size: '4b', l2KiB: 1280, align: 640, capacity: 1920 },
])(
  'moves rings of the $size by $align with $l2KiB KiB of L2',
  ({ size, l2KiB, align, capacity }) => {
    const path = new URL(`../../golden/configs/gemma-3-${size}.json`, import.meta.url);
    const config = parseModelConfig(JSON.parse(readFileSync(path, 'utf8')));
    const options = ringOptionsFor(config, 256, l2KiB * 1024);
    expect(options.alignTokens).toBe(align);
    expect(ringCapacity(options)).toBe(capacity);
  },
);
