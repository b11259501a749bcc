import { type JsonObject } from '../parse.ts';

/** Where a field may stand: the two routes that answer. */
export type FieldRoute = 'chat' | 'completions';

/** What is done with a request field of OpenAI's API or of a server like this one. */
export type Verdict =
  | { readonly type: 'honour' }
  /** The same as the field `of`, which wins where both are sent. */
  | { readonly type: 'alias'; readonly of: string }
  /** Ignored: the answer is right without it. */
  | { readonly type: 'harmless'; readonly why: string }
  /** Ignoring it would give another answer than the one asked for. */
  | {
      readonly type: 'refuse';
      /** Values that ask for nothing; null always does. */
      readonly passes: readonly unknown[];
      /** What to do instead. */
      readonly hint: string;
      /** Whether the rest of the body makes every value ask for nothing. */
      readonly isIdle?: (body: JsonObject) => boolean;
    };

export interface KnownField {
  readonly name: string;
  readonly route: FieldRoute | 'both';
  readonly verdict: Verdict;
}

type Route = KnownField['route'];

export function honour(names: readonly string[], route: Route = 'both'): KnownField[] {
  return names.map((name) => ({ name, route, verdict: { type: 'honour' } }));
}

export function alias(name: string, of: string, route: Route = 'both'): KnownField {
  return { name, route, verdict: { type: 'alias', of } };
}

/** @param why one sentence for all of `names` */
export function harmless(
  why: string,
  names: readonly string[],
  route: Route = 'both',
): KnownField[] {
  return names.map((name) => ({ name, route, verdict: { type: 'harmless', why } }));
}

export function refuse(
  name: string,
  hint: string,
  passes: readonly unknown[] = [],
  route: Route = 'both',
): KnownField {
  return { name, route, verdict: { type: 'refuse', passes, hint } };
}
