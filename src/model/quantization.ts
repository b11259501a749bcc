import type { JsonFields } from './json-fields.ts';

const AWQ_BITS = 4;
const USE_AWQ =
  'gemlet reads AWQ (4 bits, version gemm), bfloat16, float16 and float32 checkpoints: ' +
  'take one of those, for instance an "awq" conversion or the original of this model';

/** Why each known method is refused, in words that name it. */
const REFUSED: Readonly<Record<string, string>> = {
  'compressed-tensors': 'compressed-tensors',
  gptq: 'GPTQ',
  bitsandbytes: 'bitsandbytes',
  gguf: 'GGUF',
  fp8: 'FP8',
  hqq: 'HQQ',
  torchao: 'torchao',
  quanto: 'quanto',
};

/**
 * Accepts what the reader can unpack and refuses the rest by name. Understands the keys of
 * transformers (`quant_method`, `bits`, `version`) and of older AutoAWQ files (`w_bit`).
 * @param fields `quantization_config` of config.json, or a quant_config.json
 * @throws ServeError unsupported_model
 */
export function checkQuantization(fields: JsonFields): void {
  const method = (fields.text('quant_method') ?? 'awq').toLowerCase();
  if (method !== 'awq') {
    const name = REFUSED[method] ?? method;
    throw fields.error('quant_method', `is ${name}, which cannot be read; ${USE_AWQ}`, CODE);
  }
  const bits = fields.integer(['bits', 'w_bit'], { min: 1, max: 16 }, AWQ_BITS);
  if (bits !== AWQ_BITS) {
    throw fields.error(['bits', 'w_bit'], `must be 4 for AWQ; ${USE_AWQ}`, CODE);
  }
  const version = fields.text(['version', 'format']) ?? 'gemm';
  if (version.toLowerCase() !== 'gemm') {
    throw fields.error(['version', 'format'], `must be gemm for AWQ; ${USE_AWQ}`, CODE);
  }
}

const CODE = 'unsupported_model';
