import { ServeError } from '../errors.ts';
import { isObject, type JsonObject } from './parse.ts';

/** Says whether a value of a field we do not implement asks for nothing, so that it may pass. */
type Benign = (value: unknown) => boolean;

const never: Benign = () => false;
const isFalse: Benign = (value) => value === false;
const isEmptyList: Benign = (value) => Array.isArray(value) && value.length === 0;
const isOneOf =
  (...values: readonly unknown[]): Benign =>
  (value) =>
    values.includes(value);

/** Fields that would change the answer if they were silently ignored. Null counts as absent. */
const REFUSED: readonly (readonly [name: string, benign: Benign, hint?: string])[] = [
  ['tools', isEmptyList, 'describe the functions in the prompt instead'],
  ['tool_choice', isOneOf('none')],
  ['functions', isEmptyList, 'describe the functions in the prompt instead'],
  ['function_call', isOneOf('none')],
  ['response_format', (value) => isObject(value) && value['type'] === 'text'],
  ['modalities', (value) => Array.isArray(value) && value.every((item) => item === 'text')],
  ['audio', never],
  ['web_search_options', never],
  ['prediction', never],
  ['suffix', isOneOf('')],
  ['best_of', isOneOf(1)],
  // vLLM's extensions.
  ['use_beam_search', isFalse],
  ['min_tokens', isOneOf(0)],
  ['bad_words', isEmptyList],
  ['guided_json', never],
  ['guided_regex', never],
  ['guided_choice', never],
  ['guided_grammar', never],
  ['structured_outputs', never],
  ['include_stop_str_in_output', isFalse],
  ['skip_special_tokens', isOneOf(true)],
  ['truncate_prompt_tokens', never],
  ['prompt_logprobs', never, 'use echo with logprobs on /v1/completions'],
  ['chat_template', never, "the model's own template is always used"],
  ['documents', isEmptyList],
];

/**
 * Refuses by name what we know but do not implement.
 * @throws ServeError unsupported_parameter
 */
export function refuseUnsupported(body: JsonObject): void {
  for (const [name, benign, hint] of REFUSED) {
    const value = body[name];
    if (value === undefined || !Object.hasOwn(body, name) || benign(value)) continue;
    throw unsupported(name, hint);
  }
}

/** The refusal of one known but unsupported field or value. */
export function unsupported(param: string, hint?: string): ServeError {
  const advice = hint === undefined ? 'leave it out' : hint;
  return new ServeError('unsupported_parameter', `${param} is not supported here: ${advice}.`, {
    param,
  });
}
