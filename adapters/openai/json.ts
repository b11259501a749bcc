import { isObject, type JsonObject } from '../../src/openai/parse.ts';

/** What servers say is read leniently: what is missing or of another type counts as not said. */

export function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

export function numberOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

/** A whole number of things, >= 0. */
export function countOf(value: unknown): number | null {
  return Number.isSafeInteger(value) && Number(value) >= 0 ? Number(value) : null;
}

export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** Ids of a list; null when it is no list of whole numbers from 0. */
export function idsOf(value: unknown): readonly number[] | null {
  return Array.isArray(value) && value.every((id) => countOf(id) !== null)
    ? (value as readonly number[])
    : null;
}

export function objectOf(value: unknown): JsonObject {
  return isObject(value) ? value : {};
}
