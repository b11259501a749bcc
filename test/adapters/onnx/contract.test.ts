import { describeBackend } from '../../contracts/backend.ts';
import { DEMO_FOLDER, loadOnnx } from '../../support/onnx-model.ts';

// Decode and prefill share no rounding; logits of the demo model are of the order of 10.
for (const [precision, decodeTolerance] of [
  ['exact', 1e-3],
  ['fast', 0.5],
] as const) {
  describeBackend(
    `ONNX Runtime, ${precision}`,
    () => loadOnnx(DEMO_FOLDER, { precision, rowCount: 4, contextTokens: 4096 }),
    { decodeTolerance },
  );
}
