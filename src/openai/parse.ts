import type * as z from 'zod/mini';
import { ServeError } from '../errors.ts';

/** A JSON object as a client sent it, before validation. */
export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * Takes a request body as an object without its null fields: clients write null for "absent".
 * @throws ServeError invalid_request
 */
export function parseBody(value: unknown): JsonObject {
  if (!isObject(value)) {
    throw new ServeError(
      'invalid_request',
      `The request body must be a JSON object, not ${kindOf(value)}.`,
    );
  }
  return dropNulls(value);
}

/**
 * Validates `value` against `schema`; fields the schema does not know are ignored.
 * @param path where `value` stands in the request, such as `messages[2]`; empty for the body
 * @throws ServeError invalid_request with `param` set to the offending field
 */
export function parseFields<T>(schema: z.ZodMiniType<T>, value: unknown, path = ''): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  if (issue === undefined) throw new ServeError('invalid_request', 'The request is not valid.');
  const { keys, phrase } = explain(issue, value);
  const param = joinPath(path, keys);
  throw new ServeError('invalid_request', `${param === '' ? 'The value' : param} ${phrase}.`, {
    param: param === '' ? null : param,
  });
}

/** A shorthand for one precise refusal. */
export function invalid(param: string, phrase: string): ServeError {
  return new ServeError('invalid_request', `${param} ${phrase}.`, { param });
}

/** Names a JSON value's type without showing the value, which may be private. */
export function kindOf(value: unknown): string {
  if (value === undefined) return 'absent';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object') return 'an object';
  return typeof value === 'boolean' ? 'true or false' : `a ${typeof value}`;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Copies own fields one by one, so that a key `__proto__` stays a harmless own property. */
export function dropNulls(value: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== null));
}

function joinPath(path: string, keys: readonly PropertyKey[]): string {
  let joined = path;
  for (const key of keys) {
    if (typeof key === 'number') joined += `[${key}]`;
    else joined += joined === '' ? String(key) : `.${String(key)}`;
  }
  return joined;
}

interface Explanation {
  readonly keys: readonly PropertyKey[];
  readonly phrase: string;
}

type Issue = z.core.$ZodIssue;

/** zod/mini ships no texts; these say what the field must be and what kind of value came. */
function explain(issue: Issue, root: unknown): Explanation {
  const keys = issue.path;
  const value = valueAt(root, keys);
  if (value === undefined) return { keys, phrase: 'is required' };
  switch (issue.code) {
    case 'invalid_type':
      return { keys, phrase: typePhrase(issue.expected, value) };
    case 'too_small':
      return { keys, phrase: `must be ${bound(issue.origin, issue.inclusive, issue.minimum, -1)}` };
    case 'too_big':
      return { keys, phrase: `must be ${bound(issue.origin, issue.inclusive, issue.maximum, 1)}` };
    case 'invalid_value':
      return { keys, phrase: `must be one of ${issue.values.map(String).join(', ')}` };
    case 'invalid_union': {
      // The alternative whose type fits but whose content does not tells most.
      const branch = issue.errors.find((issues) => {
        const first = issues[0];
        return first !== undefined && !(first.code === 'invalid_type' && first.path.length === 0);
      });
      const inner = branch?.[0];
      if (inner === undefined) return { keys, phrase: own(issue) ?? 'has the wrong type' };
      return explain({ ...inner, path: [...keys, ...inner.path] }, root);
    }
    default:
      return { keys, phrase: own(issue) ?? 'is not valid' };
  }
}

function own(issue: Issue): string | undefined {
  return issue.message === 'Invalid input' ? undefined : issue.message;
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  number: 'a number',
  int: 'an integer',
  string: 'a string',
  boolean: 'true or false',
  array: 'an array',
  object: 'an object',
  record: 'an object',
};

function typePhrase(expected: string, value: unknown): string {
  const wanted = TYPE_NAMES[expected] ?? expected;
  if (typeof value === 'number') {
    if (expected === 'number') return 'must be a finite number';
    if (expected === 'int') return 'must be an integer';
  }
  return `must be ${wanted}, not ${kindOf(value)}`;
}

function bound(
  origin: string,
  inclusive: boolean | undefined,
  limit: number | bigint,
  direction: -1 | 1,
): string {
  const units: Readonly<Record<string, string>> = { string: ' characters', array: ' items' };
  const unit = units[origin];
  if (unit !== undefined) {
    if (direction < 0 && limit === 1) return 'not empty';
    return `${direction < 0 ? 'at least' : 'at most'} ${limit}${unit} long`;
  }
  if (inclusive === false) return `${direction < 0 ? 'greater' : 'less'} than ${limit}`;
  return `at ${direction < 0 ? 'least' : 'most'} ${limit}`;
}

function valueAt(root: unknown, keys: readonly PropertyKey[]): unknown {
  let value = root;
  for (const key of keys) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  return value;
}
