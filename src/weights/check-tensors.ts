import { ServeError } from '../errors.ts';
import { counted } from '../lib/counted.ts';
import type { ModelConfig } from '../model/config.ts';
import { expectedTensors } from '../model/tensor-shapes.ts';
import type { ExpectedTensor } from '../model/tensor-shapes.ts';
import type { TensorDtype } from './checkpoint.ts';
import { isFloatDtype } from './dtype.ts';
import type { StoredTensor } from './safetensors.ts';

/** A stored tensor that the model uses. */
export interface UsedTensor extends StoredTensor {
  readonly dtype: TensorDtype;
}

/** [outFeatures, inFeatures] and scale sharing of an int4 linear. */
export interface Int4Shape {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly groupSize: number;
}

export interface CheckedTensors {
  /** What the model uses, by canonical name. */
  readonly used: ReadonlyMap<string, UsedTensor>;
  /** Linears stored as int4, by canonical name. */
  readonly int4: ReadonlyMap<string, Int4Shape>;
}

/** MatMulNBits takes these; all are multiples of 8, as the unpacking needs. */
const GROUP_SIZES: readonly number[] = [32, 64, 128];

/**
 * Checks that everything the config demands is there in the right shape and a readable dtype.
 * The table may have more rows than the vocabulary: Gemma 3 pads it by 64.
 * @param byName stored tensors by canonical name
 * @param where the source's name, for messages
 * @throws ServeError invalid_checkpoint naming tensor, file, expected and found
 */
export function checkTensors(
  config: ModelConfig,
  byName: ReadonlyMap<string, StoredTensor>,
  where: string,
  hasTiedHead: boolean,
): CheckedTensors {
  const check: Check = { byName, where, used: new Map(), int4: new Map() };
  const expected = expectedTensors(config);
  const { vocabSize, hiddenSize, layerCount } = config.text;
  const head: ExpectedTensor = {
    name: 'lm_head',
    shape: [vocabSize, hiddenSize],
    kind: 'table',
    part: 'embedding',
  };
  const hasHead = byName.has('lm_head') || byName.has('lm_head.qweight');
  const needed = hasHead || !hasTiedHead ? [...expected, head] : expected;
  checkMissing(check, needed);
  for (const tensor of needed) {
    if (byName.has(`${tensor.name}.qweight`)) checkInt4(check, tensor);
    else checkFloat(check, tensor, byName.get(tensor.name));
  }
  for (const [name, { storedName, key }] of byName) {
    if (Number(/^layers\.(\d+)\./.exec(name)?.[1] ?? 0) < layerCount) continue;
    throw invalid(
      check,
      `${key} holds ${storedName}, but config.json says num_hidden_layers ${layerCount}: take the config.json of this checkpoint`,
    );
  }
  return check;
}

interface Check {
  readonly byName: ReadonlyMap<string, StoredTensor>;
  readonly where: string;
  readonly used: Map<string, UsedTensor>;
  readonly int4: Map<string, Int4Shape>;
}

function checkMissing({ byName, where }: Check, needed: readonly ExpectedTensor[]): void {
  const missing = needed.filter(({ name, kind }) => {
    const mayBeInt4 = kind === 'linear' || name === 'lm_head';
    return !byName.has(name) && !(mayBeInt4 && byName.has(`${name}.qweight`));
  });
  const [first] = missing;
  if (first === undefined) return;
  const others = missing.length > 1 ? ` and ${counted(missing.length - 1, 'other tensor')}` : '';
  throw new ServeError(
    'invalid_checkpoint',
    `${where} lacks ${first.name} [${first.shape.join(', ')}]${others}: config.json demands it; download all weight files of this model, or take the config.json that belongs to them`,
  );
}

function checkFloat(
  check: Check,
  expected: ExpectedTensor,
  stored: StoredTensor | undefined,
): void {
  if (stored === undefined) return;
  checkShape(check, stored, expected.shape, expected.kind === 'table');
  use(check, expected.name, stored, isFloatDtype(stored.dtype), 'BF16, F16 or F32');
}

/** qweight [in, out / 8], qzeros [groups, out / 8], scales [groups, out]. */
function checkInt4(check: Check, { name, shape, kind }: ExpectedTensor): void {
  const part = (suffix: string): StoredTensor => {
    const tensor = check.byName.get(`${name}.${suffix}`);
    if (tensor !== undefined) return tensor;
    throw invalid(check, `${name} has no ${suffix}: download all weight files of this model`);
  };
  const twin = check.byName.get(name);
  if (twin !== undefined) {
    throw invalid(check, `${name} is stored both as int4 and as ${twin.storedName} in ${twin.key}`);
  }
  const [qweight, qzeros, scales] = [part('qweight'), part('qzeros'), part('scales')];
  const [rows = 0, inFeatures = 0] = shape;
  // A quantised head may be padded like the table.
  const outFeatures = kind === 'table' ? Math.max(rows, 8 * (qweight.shape[1] ?? 0)) : rows;
  const groups = scales.shape[0] ?? 0;
  const groupSize = inFeatures / groups;
  checkShape(check, qweight, [inFeatures, outFeatures / 8], false);
  if (!GROUP_SIZES.includes(groupSize)) {
    throw invalid(
      check,
      `${scales.key}: ${scales.storedName} has ${groups} groups for ${inFeatures} inputs; groups of 32, 64 or 128 can be read`,
    );
  }
  checkShape(check, scales, [groups, outFeatures], false);
  checkShape(check, qzeros, [groups, outFeatures / 8], false);
  use(check, `${name}.qweight`, qweight, qweight.dtype === 'I32', 'I32');
  use(check, `${name}.qzeros`, qzeros, qzeros.dtype === 'I32', 'I32');
  use(check, `${name}.scales`, scales, isFloatDtype(scales.dtype), 'BF16, F16 or F32');
  check.int4.set(name, { outFeatures, inFeatures, groupSize });
}

function checkShape(
  check: Check,
  stored: StoredTensor,
  shape: readonly number[],
  mayHaveMoreRows: boolean,
): void {
  const fits =
    stored.shape.length === shape.length &&
    stored.shape.every((size, i) =>
      i === 0 && mayHaveMoreRows ? size >= (shape[0] ?? 0) : size === shape[i],
    );
  if (fits) return;
  const atLeast = mayHaveMoreRows ? ' or more rows' : '';
  throw invalid(
    check,
    `${stored.key}: ${stored.storedName} is [${stored.shape.join(', ')}], but config.json demands [${shape.join(', ')}]${atLeast}: take the config.json of this checkpoint`,
  );
}

function use(
  check: Check,
  name: string,
  stored: StoredTensor,
  isReadable: boolean,
  readable: string,
): void {
  if (!isReadable) {
    throw invalid(
      check,
      `${stored.key}: ${stored.storedName} is stored as ${stored.dtype}; it must be ${readable}`,
    );
  }
  check.used.set(name, stored as UsedTensor);
}

function invalid({ where }: Check, problem: string): ServeError {
  return new ServeError('invalid_checkpoint', `${where}: ${problem}`);
}
