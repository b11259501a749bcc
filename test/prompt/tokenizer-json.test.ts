import { describe, expect, test } from 'vitest';
import { parseTokenizerJson } from '../../src/prompt/tokenizer-json.ts';
import { thrownBy } from '../support/thrown-by.ts';
import { toBytes, tokenizerJson, type TokenizerJsonParts } from '../support/tokenizer-json.ts';

function errorOf(change: (json: TokenizerJsonParts) => void): { code: string; message: string } {
  const json = tokenizerJson({ pieces: ['a', 'b', 'ab', '\n'], added: ['\n'] });
  change(json);
  return thrownBy(() => parseTokenizerJson(toBytes(json)));
}

describe('parsing tokenizer.json', () => {
  test('reads vocabulary, merges and added tokens', () => {
    const json = tokenizerJson({ pieces: ['a', 'b', 'ab', '\n'], added: ['\n'] });
    const parsed = parseTokenizerJson(toBytes(json));
    expect(parsed.vocab.get('ab')).toBe(json.model.vocab['ab']);
    expect(parsed.merges).toEqual([['a', 'b']]);
    expect(parsed.addedTokens).toContainEqual({ id: 267, content: '\n', special: false });
    expect(parsed.addedTokens).toContainEqual({ id: 2, content: '<bos>', special: true });
  });

  test('reads merges written as one string', () => {
    const json = tokenizerJson({ pieces: ['a', 'b', 'ab'] });
    const bytes = toBytes({ ...json, model: { ...json.model, merges: ['a b'] } });
    expect(parseTokenizerJson(bytes).merges).toEqual([['a', 'b']]);
  });

  test.each<[string, (json: TokenizerJsonParts) => void, string]>([
    ['another model', (json) => (json.model['type'] = 'Unigram'), '"Unigram"'],
    ['no byte fallback', (json) => (json.model['byte_fallback'] = false), 'byte fallback'],
    ['ignored merges', (json) => (json.model['ignore_merges'] = true), 'ignore_merges'],
    ['dropout', (json) => (json.model['dropout'] = 0.1), 'dropout 0.1'],
    [
      'a word suffix',
      (json) => (json.model['end_of_word_suffix'] = '</w>'),
      'end_of_word_suffix to "</w>"',
    ],
    ['another normalizer', (json) => (json.normalizer = { type: 'NFKC' }), '{"type":"NFKC"}'],
    ['no normalizer', (json) => (json.normalizer = null), 'its normalizer is absent'],
    [
      'another pre_tokenizer',
      (json) => (json.pre_tokenizer = { type: 'ByteLevel', add_prefix_space: false }),
      '"ByteLevel"',
    ],
    ['another decoder', (json) => (json.decoder = { type: 'ByteLevel' }), '"ByteLevel"'],
    [
      'an added token that takes spaces along',
      (json) => Object.assign(json.added_tokens[0] ?? {}, { lstrip: true }),
      '"<pad>" sets lstrip',
    ],
  ])('refuses %s by name', (_, change, named) => {
    const error = errorOf(change);
    expect(error.code).toBe('unsupported_model');
    expect(error.message).toContain(named);
  });

  test.each<[string, (json: TokenizerJsonParts) => void, string]>([
    ['a broken merge', (json) => json.model.merges.push(['a'] as never), 'merge 1 is ["a"]'],
    ['a broken id', (json) => (json.model.vocab['a'] = -1), '"model.vocab" at "a" has id -1'],
    ['no model', (json) => (json.model = null as never), '"model" is absent'],
  ])('says where it found %s', (_, change, named) => {
    const error = errorOf(change);
    expect(error.code).toBe('invalid_checkpoint');
    expect(error.message).toContain(named);
  });

  test('says that a file is no JSON', () => {
    const error = thrownBy(() => parseTokenizerJson(new TextEncoder().encode('version https')));
    expect(error.code).toBe('invalid_checkpoint');
  });
});
