import { expect, test } from 'vitest';
import type { PreparedPrompt, SamplingParams } from '../../src/engine/engine.ts';
import { encodeCall, LENGTH_BYTES, parseCall } from '../../src/fleet/wire-call.ts';

const HASH = 'ab'.repeat(32);

const PROMPT: PreparedPrompt = {
  tokens: Int32Array.of(2, 6, 8, 8, 7, 300),
  images: [{ position: 2, image: { rgb: new Uint8Array(0), sha256: HASH } }],
  assistantSpans: [{ start: 4, end: 6 }],
  scope: 'tenant salt',
  tenant: 'tenant',
  session: { tenant: 't', id: 'i', turn: 'u' },
  answer: Int32Array.of(9, 10),
};

const PARAMS: SamplingParams = {
  maxTokens: 5,
  temperature: 0.1,
  topK: 64,
  topP: 0.95,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: -0.3,
  frequencyPenalty: 2,
  logitBias: new Map([[3, -100]]),
  seed: 2 ** 32 - 1,
  stop: [Uint8Array.of(255, 0, 10), Uint8Array.of(1)],
  stopIds: [4],
  allowedIds: [7, 3],
  minTokens: 5,
  ignoreEos: true,
  includesStop: true,
  logprobs: 2,
  promptLogprobs: null,
};

const CALL = {
  id: 'a-call',
  fingerprint: 'f',
  prompt: PROMPT,
  params: PARAMS,
  blobs: [{ sha256: HASH, sizeBytes: 192 }],
};

test('a call comes back as it was', () => {
  const bytes = encodeCall(CALL);
  const length = new DataView(bytes.buffer).getUint32(0, true);
  expect(length).toBe(bytes.length - LENGTH_BYTES);
  expect(parseCall(bytes.subarray(LENGTH_BYTES))).toEqual(CALL);
  const { answer: _answer, ...first } = PROMPT;
  const second = { ...CALL, prompt: { ...first, session: null } };
  expect(parseCall(encodeCall(second).subarray(LENGTH_BYTES))).toEqual(second);
});

test('a call that is none is refused by name', () => {
  const header = JSON.parse(new TextDecoder().decode(encodeCall(CALL).subarray(LENGTH_BYTES)));
  const wrong: [string, object][] = [
    ['version', { ...header, version: 2 }],
    ['tokens.1', { ...header, tokens: [1, -1] }],
    ['images.0.sha256', { ...header, images: [{ position: 1, sha256: 'x', original: null }] }],
    ['blobs.0.sizeBytes', { ...header, blobs: [{ sha256: HASH, sizeBytes: 2 ** 40 }] }],
    ['id', { ...header, id: '../x' }],
    ['params.seed', { ...header, params: { ...header.params, seed: null } }],
    ['params.seed', { ...header, params: { ...header.params, seed: 0.5 } }],
    ['params.stop.0', { ...header, params: { ...header.params, stop: ['%%%'] } }],
    ['params.stop.0', { ...header, params: { ...header.params, stop: [''] } }],
    ['params.logprobs', { ...header, params: { ...header.params, logprobs: 1e6 } }],
    ['params.temperature', { ...header, params: { ...header.params, temperature: -1 } }],
    ['params.logitBias.0.1', { ...header, params: { ...header.params, logitBias: [[3, 101]] } }],
  ];
  for (const [field, value] of wrong) {
    const bytes = new TextEncoder().encode(JSON.stringify(value));
    expect(() => parseCall(bytes)).toThrow(`has a wrong ${field}`);
  }
  expect(() => parseCall(Uint8Array.of(255, 1))).toThrow('is no JSON');
});
