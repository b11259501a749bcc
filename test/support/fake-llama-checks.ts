type Body = Readonly<Record<string, unknown>>;

/**
 * What llama.cpp says to a body that it refuses (v0.5.0: tools/server/server-schema.cpp and
 * server-common.cpp); null for a good one. Where the real server only clamps, nothing is said.
 */
export function llamaRefusal(path: string, body: Body): string | null {
  for (const [name, least, most] of HARD_LIMITS) {
    const value = body[name];
    if (value === undefined || value === null) continue;
    if (typeof value !== 'number') return `Field '${name}': ${typeError('number', value)}`;
    if (value < least || value > most) {
      return `Field '${name}': Value must be between ${least} <= value <= ${most}, but got ${value}`;
    }
  }
  for (const name of NUMBERS) {
    const value = body[name];
    if (value === undefined || value === null || typeof value === 'number') continue;
    if (name === 'logprobs' && typeof value === 'boolean') continue;
    return `Field '${name}': ${typeError('number', value)}`;
  }
  for (const name of SWITCHES) {
    const value = body[name];
    if (value === undefined || value === null || typeof value === 'boolean') continue;
    return `Field '${name}': ${typeError('boolean', value)}`;
  }
  if (path === '/v1/chat/completions') return chatRefusal(body);
  const { prompt } = body;
  if (prompt === undefined) return "[json.exception.out_of_range.403] key 'prompt' not found";
  return Array.isArray(prompt) && prompt.length === 0 ? '"prompt" must not be empty' : null;
}

const MOST = 2_147_483_647;

const HARD_LIMITS: readonly (readonly [string, number, number])[] = [
  ['n_predict', -1, MOST],
  ['max_tokens', -1, MOST],
  ['repeat_last_n', 0, MOST],
];

const NUMBERS = [
  'temperature',
  'top_k',
  'top_p',
  'min_p',
  'seed',
  'n_probs',
  'logprobs',
  'repeat_penalty',
  'frequency_penalty',
  'presence_penalty',
] as const;

const SWITCHES = ['stream', 'ignore_eos', 'cache_prompt', 'return_tokens'] as const;

function typeError(wanted: string, value: unknown): string {
  return `[json.exception.type_error.302] type must be ${wanted}, but is ${typeof value}`;
}

/** The template is that of the model, Gemma's; a last message of the assistant is begun, not a turn. */
function chatRefusal(body: Body): string | null {
  if (body['top_logprobs'] !== undefined && body['logprobs'] !== true) {
    return 'top_logprobs requires logprobs to be set to true';
  }
  const messages = (body['messages'] ?? []) as readonly { readonly role: string }[];
  const whole = messages.at(-1)?.role === 'assistant' ? messages.slice(0, -1) : messages;
  const turns = whole[0]?.role === 'system' ? whole.slice(1) : whole;
  const isOff = turns.some(({ role }, at) => (at % 2 === 0) !== (role === 'user'));
  return isOff
    ? 'Unable to generate parser for this template. Conversation roles must alternate user/assistant/...'
    : null;
}
