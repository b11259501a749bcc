import { expect, it } from 'vitest';
import { fillRopeTables } from '../../../adapters/onnx/rope.ts';

it('turns position p by p * theta^(-2j/d) / factor', () => {
  const headDim = 8;
  const half = headDim / 2;
  const positions = 2000;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  fillRopeTables({ theta: 1e6, factor: 8 }, headDim, cos, sin);
  for (const position of [0, 1, 7, 1999]) {
    for (let j = 0; j < half; j++) {
      const angle = (position * 1e6 ** ((-2 * j) / headDim)) / 8;
      // Angles are rounded to fp32, as in the reference: up to 2^-24 of 250.
      expect(cos[position * half + j]).toBeCloseTo(Math.cos(angle), 4);
      expect(sin[position * half + j]).toBeCloseTo(Math.sin(angle), 4);
    }
  }
});
