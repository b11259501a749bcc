import type { SeededRandom } from './seeded-random.ts';

/** Numbers that JSON can write but JavaScript cannot hold are put in as text. */
const RAW = /"@@([^"]*)@@"/g;

const HOSTILE_URLS: readonly string[] = [
  'data:',
  'data:,',
  'data:image/png;base64,',
  'data:image/png;base64,!!!!',
  'data:image/png,%00%ff',
  'data:image/svg+xml,<svg onload="x"/>',
  'data:text/html;base64,PGI+',
  'DATA:image/jpeg;base64,/9j/',
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUv////////8IBgAAAB8VxIk=',
  'file:///etc/passwd',
  'http://127.0.0.1:1/a.png',
  'http://169.254.169.254/latest/meta-data',
  'http://[::1]/',
  'http://0x7f.1/',
  'https://localhost/',
  'https://user:pass@127.0.0.1/',
  'ftp://127.0.0.1/',
  'javascript:alert(1)',
  'blob:x',
  '//127.0.0.1/',
  '',
  ' ',
  '\u0000',
  'http://',
  'https://%',
  `data:image/png;base64,${'A'.repeat(20_000)}`,
];

const ODD_STRINGS: readonly string[] = [
  '',
  ' ',
  '\u0000',
  '\uFFFD',
  '\uFEFF',
  '\uD800',
  '\u202E',
  '👩‍👩‍👧‍👦',
  'e\u0301'.repeat(50),
  '<start_of_turn>model\n',
  '<bos><eos>',
  '__proto__',
  'constructor',
  'null',
  'true',
  '1',
  'x'.repeat(5000),
  '\\',
  '"',
  '\r\n\r\ndata: [DONE]\n\n',
];

const ODD_VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -0,
  1,
  -1,
  2,
  0.5,
  1e-300,
  1e308,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  -(2 ** 63),
  '@@1e999@@',
  '@@-1e999@@',
  '@@1E400@@',
  '@@0.00000000000000000000001@@',
  '@@123456789012345678901234567890@@',
  [],
  {},
  [[]],
  [null],
  [{}],
  { '': '' },
  { type: 'text' },
  { type: 'image_url' },
  { length: 5 },
];

const FIELDS: readonly string[] = [
  'model',
  'messages',
  'prompt',
  'n',
  'stream',
  'stream_options',
  'max_tokens',
  'max_completion_tokens',
  'temperature',
  'top_p',
  'top_k',
  'min_p',
  'repetition_penalty',
  'presence_penalty',
  'frequency_penalty',
  'logit_bias',
  'seed',
  'stop',
  'stop_token_ids',
  'ignore_eos',
  'return_token_ids',
  'logprobs',
  'top_logprobs',
  'echo',
  'suffix',
  'best_of',
  'tools',
  'tool_choice',
  'response_format',
  'modalities',
  'audio',
  'add_generation_prompt',
  'continue_final_message',
  'strict_template',
  'add_special_tokens',
  'user',
  'metadata',
  '__proto__',
  'constructor',
  'toString',
  'role',
  'content',
  'type',
  'text',
  'image_url',
  'url',
  'detail',
  'name',
  'tool_calls',
];

/** One request made from a good one by a few random changes of its fields, text and headers. */
export function mutant(random: SeededRandom, goodBody: object): RequestInit {
  let body: unknown = structuredClone(goodBody);
  const changes = random.integer(1, 4);
  if (!random.chance(0.15)) for (let at = 0; at < changes; at++) body = changed(body, random);
  const text = JSON.stringify(cheap(body)).replaceAll(RAW, '$1');
  const bytes = random.chance(0.3) ? garbled(new TextEncoder().encode(text), random) : text;
  const type = random.chance(0.03)
    ? random.pick([
        'text/plain',
        'application/x-www-form-urlencoded',
        'multipart/form-data',
        'x',
        '',
      ])
    : 'application/json';
  const method = random.chance(0.02) ? random.pick(['PUT', 'DELETE', 'PATCH', 'OPTIONS']) : 'POST';
  return { method, headers: { 'content-type': type }, body: bytes };
}

/** Keeps mutants quick on a real model: what stays a valid amount of work becomes a small one. */
function cheap(body: unknown): unknown {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return body;
  const fields = { ...(body as Record<string, unknown>) };
  for (const [name, most] of [
    ['n', 3],
    ['max_tokens', 4],
    ['max_completion_tokens', 4],
  ] as const) {
    const value = fields[name];
    if (typeof value === 'number' && value > most && value < 2 ** 53) fields[name] = most;
  }
  fields['max_tokens'] ??= 4;
  return fields;
}

interface Place {
  readonly parent: Record<PropertyKey, unknown> | unknown[];
  readonly key: PropertyKey;
}

function changed(body: unknown, random: SeededRandom): unknown {
  const places = placesIn(body);
  if (places.length === 0) return oddValue(random);
  const { parent, key } = random.pick(places);
  const target = parent as Record<PropertyKey, unknown>;
  const value = target[key];
  switch (random.integer(0, 9)) {
    case 0:
      if (Array.isArray(parent)) parent.splice(Number(key), 1);
      else delete target[key];
      break;
    case 1:
      target[key] = oddValue(random);
      break;
    case 2:
      target[key] = random.pick(ODD_STRINGS);
      break;
    case 3:
      target[key] = [value];
      break;
    case 4:
      target[key] = { [random.pick(FIELDS)]: value };
      break;
    case 5:
      define(
        Array.isArray(parent) ? (body as object) : parent,
        random.pick(FIELDS),
        oddValue(random),
      );
      break;
    case 6:
      target[key] = random.pick(HOSTILE_URLS);
      break;
    case 7:
      if (Array.isArray(value)) value.push(...value.slice(0, 50));
      else target[key] = nested(random.integer(1, 200), value);
      break;
    case 8:
      if (typeof value === 'number') target[key] = value * random.pick([-1, 0.1, 10, 1e6, 1e300]);
      else if (typeof value === 'string') target[key] = value + random.pick(ODD_STRINGS);
      else target[key] = JSON.stringify(value) ?? '';
      break;
    default:
      target[key] =
        random.pick(places).parent === parent
          ? oddValue(random)
          : structuredClone(random.pick(places).parent);
  }
  return body;
}

/** A fresh copy: later changes of a mutant must not reach other cases. */
function oddValue(random: SeededRandom): unknown {
  return structuredClone(random.pick(ODD_VALUES));
}

/** Sets an own property even for `__proto__`. */
function define(target: object, key: string, value: unknown): void {
  Object.defineProperty(target, key, {
    value,
    enumerable: true,
    configurable: true,
    writable: true,
  });
}

function nested(depth: number, value: unknown): unknown {
  let result = value;
  for (let level = 0; level < depth; level++) result = level % 2 === 0 ? [result] : { a: result };
  return result;
}

function placesIn(value: unknown, depth = 0): Place[] {
  // Deep mutants of mutants would drown the shallow fields.
  if (typeof value !== 'object' || value === null || depth > 8) return [];
  const parent = value as Record<PropertyKey, unknown>;
  const keys = Array.isArray(value) ? value.keys() : Object.keys(value);
  return [...keys]
    .slice(0, 100)
    .flatMap((key) => [{ parent, key }, ...placesIn(parent[key], depth + 1)]);
}

/** Cut off, cut in the middle, or with some bytes changed. */
export function garbled(bytes: Uint8Array, random: SeededRandom): Uint8Array<ArrayBuffer> {
  const copy = Uint8Array.from(bytes);
  switch (random.integer(0, 3)) {
    case 0:
      return copy.slice(0, random.integer(0, copy.length));
    case 1: {
      const from = random.integer(0, copy.length - 1);
      return Uint8Array.from([
        ...copy.slice(0, from),
        ...copy.slice(random.integer(0, copy.length)),
      ]);
    }
    default:
      for (let flips = random.integer(1, 8); flips > 0; flips--) {
        copy[random.integer(0, copy.length - 1)] = random.integer(0, 255);
      }
      return copy;
  }
}
