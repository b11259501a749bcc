import * as z from 'zod/mini';

/**
 * Builders for optional request fields. Every schema here only checks, it never converts, so that
 * the same schema yields the OpenAPI document.
 */

type Optional<T> = z.ZodMiniType<T | undefined>;

/** A finite number in [minimum, maximum]. */
export function numberField(minimum: number, maximum: number, about: string): Optional<number> {
  return z.optional(z.number().check(z.gte(minimum), z.lte(maximum), z.describe(about)));
}

/** A safe integer in [minimum, maximum]. */
export function integerField(
  minimum: number,
  maximum: number = Number.MAX_SAFE_INTEGER,
  about = '',
): Optional<number> {
  return z.optional(z.int().check(z.gte(minimum), z.lte(maximum), z.describe(about)));
}

/** A number of tokens; -1 is no limit. */
export function limitField(about: string): Optional<number> {
  return integerField(-1, undefined, `${about} -1: no limit but the context and the model's own.`);
}

export function booleanField(about: string): Optional<boolean> {
  return z.optional(z.boolean().check(z.describe(about)));
}

export function stringField(about: string, maxLength = 1024): Optional<string> {
  return z.optional(z.string().check(z.maxLength(maxLength), z.describe(about)));
}

/**
 * An array whose length is checked before any item is looked at: a body of millions of bad items
 * yields one error, not millions.
 */
export function listOf<T>(
  item: z.ZodMiniType<T>,
  maxLength: number,
  minLength = 0,
): z.ZodMiniType<T[]> {
  const bounded = z.array(z.unknown()).check(z.minLength(minLength), z.maxLength(maxLength));
  return z.pipe(bounded, z.array(item));
}
