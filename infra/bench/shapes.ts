/** The text models the benchmarks run, in their true shapes, as one place for both file formats. */

export interface TextShape {
  readonly name: string;
  /** For reports: what these numbers are the shape of. */
  readonly title: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly kvHeadCount: number;
  readonly headDim: number;
  readonly intermediateSize: number;
  readonly windowTokens: number;
  /** Divides the inverse frequencies of global layers; 1 is off. */
  readonly ropeFactor: number;
  readonly maxPositions: number;
}

const SHAPES: readonly TextShape[] = [
  {
    // Not a real model: the same architecture, small enough for a test.
    name: 'mini',
    title: 'a toy shape',
    vocabSize: 1024,
    hiddenSize: 128,
    layerCount: 7,
    headCount: 4,
    kvHeadCount: 2,
    headDim: 64,
    intermediateSize: 256,
    windowTokens: 128,
    ropeFactor: 8,
    maxPositions: 32_768,
  },
  {
    name: '1b',
    title: 'the shape of Gemma 3 1B',
    vocabSize: 262_144,
    hiddenSize: 1152,
    layerCount: 26,
    headCount: 4,
    kvHeadCount: 1,
    headDim: 256,
    intermediateSize: 6912,
    windowTokens: 512,
    ropeFactor: 1,
    maxPositions: 32_768,
  },
  {
    name: '4b',
    title: "the shape of Gemma 3 4B's text model",
    vocabSize: 262_208,
    hiddenSize: 2560,
    layerCount: 34,
    headCount: 8,
    kvHeadCount: 4,
    headDim: 256,
    intermediateSize: 10_240,
    windowTokens: 1024,
    ropeFactor: 8,
    maxPositions: 131_072,
  },
];

/** Values that share one scale, in all formats here. */
export const GROUP_SIZE = 32;

/** Every sixth layer is global: Gemma 3 report, section 2. */
export const LAYER_PATTERN = 6;

/** @throws RangeError when no shape has this name */
export function shapeOf(name: string): TextShape {
  const shape = SHAPES.find((candidate) => candidate.name === name);
  if (shape === undefined) {
    const known = SHAPES.map((candidate) => candidate.name).join(', ');
    throw new RangeError(`there is no size '${name}'; known sizes: ${known}`);
  }
  return shape;
}
