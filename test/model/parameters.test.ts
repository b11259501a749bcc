import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '../../src/model/parse-config.ts';
import { countParameters } from '../../src/model/parameters.ts';
import { readJsonFile } from '../support/read-json.ts';

describe('countParameters', () => {
  it.each([
    ['270m', 268_098_176, 5_570_560 * 18, 0],
    ['1b', 999_885_952, 26_836_992 * 26, 0],
    ['4b', 4_300_079_472, 94_371_840 * 34, 416_866_032],
    ['12b', 12_187_325_040, 224_133_120 * 48, 416_866_032],
    ['27b', 27_432_406_640, 412_876_800 * 62, 416_866_032],
  ])('counts those of %s', (size, total, linear, vision) => {
    const config = parseModelConfig(readJsonFile(`test/golden/configs/gemma-3-${size}.json`));
    const counts = countParameters(config);
    expect(counts.total).toBe(total);
    expect(counts.decoderLinear).toBe(linear);
    expect(counts.vision).toBe(vision);
  });
});
