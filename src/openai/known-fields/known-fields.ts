import { ServeError } from '../../errors.ts';
import { isObject, type JsonObject } from '../parse.ts';
import { unsupported } from '../unsupported.ts';
import { HARMLESS } from './harmless.ts';
import { HONOURED } from './honoured.ts';
import { REFUSED } from './refused.ts';
import type { FieldRoute, KnownField, Verdict } from './verdict.ts';

/**
 * Every request field of OpenAI, vLLM, SGLang, llama.cpp, Ollama, TGI, LM Studio, OpenRouter and
 * Cloudflare, each with one verdict a route. What is not here is ignored.
 */
export const KNOWN_FIELDS: readonly KnownField[] = [...HONOURED, ...HARMLESS, ...REFUSED];

/** A body of which nothing is refused any more, by the names we know it by. */
export interface ReadFields {
  readonly body: JsonObject;
  /** Names the client used, by ours. */
  readonly sentAs: ReadonlyMap<string, string>;
}

const TABLES: Readonly<Record<FieldRoute, ReadonlyMap<string, Verdict>>> = {
  chat: tableOf('chat'),
  completions: tableOf('completions'),
};
const TOOL_FIELDS: ReadonlySet<string> = new Set(['tools', 'functions']);

/** The verdict on `name`; undefined for what nobody knows. */
export function verdictOn(name: string, route: FieldRoute): Verdict | undefined {
  return TABLES[route].get(name);
}

/**
 * Refuses by name what we know and cannot do, and gives aliases their own names.
 * @param body without nulls
 * @param modelId for refusals that clients know by heart
 * @throws ServeError unsupported_parameter
 */
export function readKnownFields(body: JsonObject, route: FieldRoute, modelId: string): ReadFields {
  const sentAs = new Map<string, string>();
  for (const [name, value] of Object.entries(body)) {
    const verdict = TABLES[route].get(name);
    if (verdict?.type === 'refuse') {
      if (verdict.isIdle?.(body) === true || passes(value, verdict.passes)) continue;
      if (TOOL_FIELDS.has(name)) throw withoutTools(name, modelId, verdict.hint);
      throw unsupported(name, verdict.hint);
    }
    if (verdict?.type === 'alias' && !Object.hasOwn(body, verdict.of)) sentAs.set(verdict.of, name);
  }
  if (sentAs.size === 0) return { body, sentAs };
  const renamed = Array.from(sentAs, ([name, alias]) => [name, body[alias]] as const);
  return { body: { ...body, ...Object.fromEntries(renamed) }, sentAs };
}

/** Runs `parse`; what it refuses is named as the client named it. */
export function namedAsSent<T>({ sentAs }: ReadFields, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    const name = ServeError.is(error) ? (error.param ?? '') : '';
    const sent = sentAs.get(name);
    if (sent === undefined || !ServeError.is(error)) throw error;
    throw new ServeError(error.code, error.message.replace(name, sent), { param: sent });
  }
}

/** Ollama's words, by which clients know that they have to describe tools in the prompt. */
function withoutTools(param: string, modelId: string, hint: string): ServeError {
  return new ServeError(
    'unsupported_parameter',
    `${modelId} does not support tools (${param}): ${hint}.`,
    { param },
  );
}

function passes(value: unknown, allowed: readonly unknown[]): boolean {
  return allowed.some((item) => isSame(value, item));
}

/** Equality of JSON values; as deep as `wanted`, however large `value` is. */
function isSame(value: unknown, wanted: unknown): boolean {
  if (Array.isArray(wanted)) {
    if (!Array.isArray(value) || value.length !== wanted.length) return false;
    return wanted.every((item, at) => isSame(value[at], item));
  }
  if (!isObject(wanted)) return value === wanted;
  if (!isObject(value)) return false;
  const names = Object.keys(wanted);
  if (Object.keys(value).length !== names.length) return false;
  return names.every((name) => isSame(value[name], wanted[name]));
}

function tableOf(route: FieldRoute): ReadonlyMap<string, Verdict> {
  const fields = KNOWN_FIELDS.filter((field) => field.route === 'both' || field.route === route);
  return new Map(fields.map(({ name, verdict }) => [name, verdict]));
}
