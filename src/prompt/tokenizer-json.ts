import { ServeError } from '../errors.ts';

/** What we use of a Hugging Face tokenizer.json. */
export interface TokenizerJson {
  /** Spelling to id. */
  readonly vocab: ReadonlyMap<string, number>;
  /** In order of rank. */
  readonly merges: readonly (readonly [string, string])[];
  readonly addedTokens: readonly AddedToken[];
}

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

type JsonObject = Readonly<Record<string, unknown>>;

/**
 * Parses a tokenizer.json of Gemma's kind: BPE with byte fallback, spaces written as U+2581, added
 * tokens matched in raw text.
 * @throws ServeError invalid_checkpoint when it is no tokenizer.json; unsupported_model naming the
 *   part that would tokenize differently
 */
export function parseTokenizerJson(bytes: Uint8Array): TokenizerJson {
  const root = asObject(parseJson(bytes), 'it');
  const model = asObject(root['model'], '"model"');
  requireModel(model);
  requireNormalizer(root['normalizer']);
  requirePreTokenizer(root['pre_tokenizer']);
  requireDecoder(root['decoder']);
  const vocab = new Map<string, number>();
  for (const [spelling, id] of Object.entries(asObject(model['vocab'], '"model.vocab"'))) {
    vocab.set(spelling, asId(id, `"model.vocab" at ${JSON.stringify(spelling)}`));
  }
  return {
    vocab,
    merges: asArray(model['merges'], '"model.merges"').map(parseMerge),
    addedTokens: asArray(root['added_tokens'] ?? [], '"added_tokens"').map(parseAddedToken),
  };
}

function requireModel(model: JsonObject): void {
  // Files older than the field have no type; a BPE model is then told by its merges.
  const type = model['type'] ?? (model['merges'] === undefined ? 'unknown' : 'BPE');
  if (type !== 'BPE') throw unsupported(`its model is ${show(type)}`, 'BPE');
  if (model['byte_fallback'] !== true) throw unsupported('its BPE has no byte fallback', 'one');
  if (model['ignore_merges'] === true) throw unsupported('it sets ignore_merges', 'false');
  if (typeof model['dropout'] === 'number' && model['dropout'] > 0) {
    throw unsupported(`it drops merges at random (dropout ${model['dropout']})`, 'none');
  }
  for (const name of ['continuing_subword_prefix', 'end_of_word_suffix']) {
    const affix = model[name] ?? '';
    if (affix !== '') throw unsupported(`it sets ${name} to ${show(affix)}`, 'none');
  }
}

function requireNormalizer(value: unknown): void {
  const expected = { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' };
  const steps = toSteps(value, 'normalizers');
  if (steps.length !== 1 || !matches(steps[0], expected)) {
    throw unsupported(`its normalizer is ${describe(value)}`, 'Replace " " by "\u2581"');
  }
}

function requirePreTokenizer(value: unknown): void {
  // It splits at spaces, of which the normalizer left none: it never does anything.
  const splitsAtSpaces = { type: 'Split', pattern: { String: ' ' }, invert: false };
  for (const step of toSteps(value, 'pretokenizers')) {
    if (!matches(step, splitsAtSpaces)) {
      throw unsupported(`its pre_tokenizer is ${describe(step)}`, 'Split at " "');
    }
  }
}

function requireDecoder(value: unknown): void {
  const expected = [
    { type: 'Replace', pattern: { String: '\u2581' }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
  ];
  const steps = toSteps(value, 'decoders');
  const isGemma =
    steps.length === expected.length && steps.every((step, k) => matches(step, expected[k] ?? {}));
  if (!isGemma) {
    const names = steps.map(describe).join(', ');
    throw unsupported(`its decoder is ${names || 'absent'}`, 'Replace, ByteFallback, Fuse');
  }
}

function parseMerge(value: unknown, index: number): readonly [string, string] {
  // Older files write "a b"; no spelling holds a space.
  const pair: unknown = typeof value === 'string' ? value.split(' ') : value;
  if (Array.isArray(pair) && pair.length === 2) {
    const [left, right] = pair as unknown[];
    if (typeof left === 'string' && typeof right === 'string') return [left, right];
  }
  throw invalid(`merge ${index} is ${show(value)}, expected two spellings`);
}

function parseAddedToken(value: unknown, index: number): AddedToken {
  const token = asObject(value, `"added_tokens[${index}]"`);
  const content = token['content'];
  if (typeof content !== 'string' || content === '') {
    throw invalid(`added token ${index} has no content`);
  }
  for (const flag of ['single_word', 'lstrip', 'rstrip', 'normalized']) {
    if (token[flag] === true) {
      throw unsupported(`its added token ${show(content)} sets ${flag}`, 'false');
    }
  }
  const id = asId(token['id'], `added token ${show(content)}`);
  return { id, content, special: token['special'] === true };
}

/** The steps of a Sequence, the one step of anything else, none of null. */
function toSteps(value: unknown, key: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  const step = asObject(value, 'a step');
  return step['type'] === 'Sequence' ? asArray(step[key], `"${key}"`) : [step];
}

/** Whether `value` holds everything that `expected` holds. */
function matches(value: unknown, expected: JsonObject): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(expected).every(([key, wanted]) => {
    const found = (value as JsonObject)[key];
    return typeof wanted === 'object' ? matches(found, wanted as JsonObject) : found === wanted;
  });
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new ServeError('invalid_checkpoint', 'tokenizer.json is not JSON in UTF-8.', {
      cause: error,
    });
  }
}

function asObject(value: unknown, name: string): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as JsonObject;
  }
  throw invalid(`${name} is ${describe(value)}, expected an object`);
}

function asArray(value: unknown, name: string): readonly unknown[] {
  if (Array.isArray(value)) return value as unknown[];
  throw invalid(`${name} is ${describe(value)}, expected a list`);
}

function asId(value: unknown, name: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0) return value;
  throw invalid(`${name} has id ${show(value)}`);
}

function describe(value: unknown): string {
  if (value === undefined || value === null) return 'absent';
  if (Array.isArray(value)) return 'a list';
  if (typeof value !== 'object') return show(value);
  const type = (value as JsonObject)['type'];
  return typeof type === 'string' ? show(value) : 'an object';
}

/** A value as JSON, cut to what fits a message. */
function show(value: unknown): string {
  const json = JSON.stringify(value) ?? 'undefined';
  return json.length > 120 ? `${json.slice(0, 117)}...` : json;
}

function invalid(what: string): ServeError {
  return new ServeError('invalid_checkpoint', `tokenizer.json cannot be read: ${what}.`);
}

function unsupported(what: string, expected: string): ServeError {
  return new ServeError(
    'unsupported_model',
    `tokenizer.json is not a Gemma tokenizer: ${what}, Gemma's has ${expected}.`,
  );
}
