import { ServeError } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';

/**
 * Typed reading of one JSON object from a checkpoint's files. null counts as absent, as it does
 * for the reference. Where several keys are given the first one present is read. Every error
 * names the file and the full key.
 */
export interface JsonFields {
  /** What stands before a key in messages, such as `config.json: text_config`. */
  readonly where: string;
  has(key: FieldKey): boolean;
  /** The raw value, undefined when absent. */
  value(key: FieldKey): unknown;
  /** Without `fallback` the key must be there. */
  integer(key: FieldKey, range: FieldRange, fallback?: number): number;
  number(key: FieldKey, range: FieldRange, fallback?: number): number;
  boolean(key: FieldKey, fallback: boolean): boolean;
  /** null when absent. */
  text(key: FieldKey): string | null;
  /** null when absent. */
  object(key: FieldKey): JsonFields | null;
  /** null when absent; a single integer counts as a list of one. */
  integers(key: FieldKey, range: FieldRange): readonly number[] | null;
  /** An error about `key`: names it and shows its value. */
  error(key: FieldKey, problem: string, code?: ErrorCode): ServeError;
}

export type FieldKey = string | readonly string[];

/** Inclusive bounds. */
export interface FieldRange {
  readonly min: number;
  readonly max: number;
}

/**
 * @param where the file, such as `config.json`
 * @throws ServeError invalid_checkpoint when `value` is not an object
 */
export function jsonFields(value: unknown, where: string): JsonFields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ServeError(
      'invalid_checkpoint',
      `${where} must be a JSON object, found ${show(value)}`,
    );
  }
  return readerOf(value as Readonly<Record<string, unknown>>, where);
}

function readerOf(record: Readonly<Record<string, unknown>>, where: string): JsonFields {
  const presentKey = (key: FieldKey): string => {
    const names = typeof key === 'string' ? [key] : key;
    const present = names.find((name) => Object.hasOwn(record, name) && record[name] !== null);
    return present ?? names[0] ?? '';
  };
  const value = (key: FieldKey): unknown => {
    const name = presentKey(key);
    return Object.hasOwn(record, name) ? (record[name] ?? undefined) : undefined;
  };
  const pathOf = (key: FieldKey): string =>
    where.includes(': ') ? `${where}.${presentKey(key)}` : `${where}: ${presentKey(key)}`;
  const error = (key: FieldKey, problem: string, code: ErrorCode = 'invalid_checkpoint') =>
    new ServeError(
      code,
      `${pathOf(key)} ${problem}${value(key) === undefined ? '' : `, found ${show(value(key))}`}`,
    );
  const numeric = (
    key: FieldKey,
    range: FieldRange,
    fallback: number | undefined,
    whole: boolean,
  ): number => {
    const found = value(key) ?? fallback;
    if (found === undefined) throw error(key, 'is missing');
    if (!isNumberIn(found, range, whole)) {
      throw error(
        key,
        `must be a ${whole ? 'whole ' : ''}number from ${range.min} to ${range.max}`,
      );
    }
    return found;
  };
  return {
    where,
    value,
    error,
    has: (key) => value(key) !== undefined,
    integer: (key, range, fallback) => numeric(key, range, fallback, true),
    number: (key, range, fallback) => numeric(key, range, fallback, false),
    boolean: (key, fallback) => {
      const found = value(key) ?? fallback;
      if (typeof found !== 'boolean') throw error(key, 'must be true or false');
      return found;
    },
    text: (key) => {
      const found = value(key) ?? null;
      if (found !== null && typeof found !== 'string') throw error(key, 'must be a string');
      return found;
    },
    object: (key) => {
      const found = value(key);
      return found === undefined ? null : jsonFields(found, pathOf(key));
    },
    integers: (key, range) => {
      const found = value(key);
      if (found === undefined) return null;
      const list: readonly unknown[] = Array.isArray(found) ? found : [found];
      if (list.length === 0 || !list.every((item) => isNumberIn(item, range, true))) {
        throw error(key, `must hold whole numbers from ${range.min} to ${range.max}`);
      }
      return list;
    },
  };
}

function isNumberIn(value: unknown, range: FieldRange, whole: boolean): value is number {
  return (
    typeof value === 'number' &&
    (whole ? Number.isSafeInteger(value) : Number.isFinite(value)) &&
    value >= range.min &&
    value <= range.max
  );
}

const SHOWN_CHARACTERS = 80;

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}...` : text;
}
