import type { CompletionRequest } from '../../src/completer.ts';
import { ServeError } from '../../src/errors.ts';
import type { UpstreamKind, UpstreamPrompt } from './call.ts';

type Field =
  | 'top_k'
  | 'min_p'
  | 'repetition_penalty'
  | 'presence_penalty'
  | 'logit_bias'
  | 'stop_token_ids'
  | 'allowed_token_ids'
  | 'min_tokens'
  | 'include_stop_str_in_output'
  | 'ignore_eos'
  | 'logprobs'
  | 'echo'
  | 'return_token_ids'
  | 'cache_salt'
  | 'continue_final_message'
  | 'add_generation_prompt'
  | 'add_special_tokens';

/** What each kind of server cannot do, by how the prompt is sent. What is not listed it can. */
const LACKING: Readonly<
  Record<UpstreamKind, Readonly<Record<UpstreamPrompt['type'], readonly Field[]>>>
> = {
  gemlet: { ids: [], text: [], chat: [] },
  vllm: { ids: [], text: [], chat: [] },
  sglang: {
    ids: ['allowed_token_ids'],
    text: ['allowed_token_ids', 'echo', 'return_token_ids', 'add_special_tokens'],
    chat: ['allowed_token_ids', 'return_token_ids', 'add_generation_prompt'],
  },
  // It has one cache for all.
  'llama.cpp': {
    ids: ['allowed_token_ids', 'stop_token_ids', 'echo', 'cache_salt'],
    text: [
      'allowed_token_ids',
      'stop_token_ids',
      'echo',
      'return_token_ids',
      'cache_salt',
      'add_special_tokens',
    ],
    chat: [
      'allowed_token_ids',
      'stop_token_ids',
      'return_token_ids',
      'cache_salt',
      'continue_final_message',
      'add_generation_prompt',
    ],
  },
  tgi: {
    ids: ['allowed_token_ids'],
    text: [
      'allowed_token_ids',
      'top_k',
      'min_p',
      'presence_penalty',
      'logit_bias',
      'stop_token_ids',
      'ignore_eos',
      'logprobs',
      'echo',
      'return_token_ids',
      'cache_salt',
      'add_special_tokens',
    ],
    // In its chat, presence_penalty sets the repetition penalty, by another scale.
    chat: [
      'allowed_token_ids',
      'top_k',
      'min_p',
      'repetition_penalty',
      'presence_penalty',
      'logit_bias',
      'stop_token_ids',
      'ignore_eos',
      'return_token_ids',
      'cache_salt',
      'continue_final_message',
      'add_generation_prompt',
    ],
  },
  openai: {
    ids: openAiLacks(),
    text: openAiLacks(),
    chat: openAiLacks(),
  },
};

/** What no kind can: stop strings are looked for here, where nothing is known of either. */
const NEVER: readonly Field[] = ['min_tokens', 'include_stop_str_in_output'];

/** Whether a client's choice can be passed on at all; a card's defaults must then leave it off. */
export function canSample(
  kind: UpstreamKind,
  field: 'top_k' | 'min_p' | 'repetition_penalty',
): boolean {
  return !LACKING[kind].chat.includes(field);
}

/**
 * Refuses what the server would ignore or read otherwise.
 * @throws ServeError unsupported_parameter with `param`
 */
export function refuseLacking(
  kind: UpstreamKind,
  prompt: UpstreamPrompt,
  request: CompletionRequest,
): void {
  const { sampling } = request;
  if (prompt.type === 'ids' && kind === 'tgi') {
    throw lacking('prompt', kind, 'it takes no token ids, send text');
  }
  const wanted: readonly (readonly [Field, boolean])[] = [
    ['top_k', sampling.topK > 0],
    ['min_p', sampling.minP > 0],
    ['repetition_penalty', sampling.repetitionPenalty !== 1],
    ['presence_penalty', sampling.presencePenalty !== 0],
    ['logit_bias', sampling.logitBias.size > 0],
    ['stop_token_ids', sampling.stopIds.length > 0],
    ['allowed_token_ids', sampling.allowedIds !== null],
    ['min_tokens', sampling.minTokens > 0],
    ['include_stop_str_in_output', sampling.includesStop],
    ['ignore_eos', sampling.ignoreEos],
    ['logprobs', sampling.logprobs !== null],
    ['echo', sampling.promptLogprobs !== null],
    ['return_token_ids', request.returnTokenIds],
    // The tenant alone is no wish of the client's: it is passed on where that can be done.
    ['cache_salt', request.scope !== request.tenant],
    ['continue_final_message', prompt.type === 'chat' && prompt.continueFinalMessage],
    [
      'add_generation_prompt',
      prompt.type === 'chat' && !prompt.addGenerationPrompt && !prompt.continueFinalMessage,
    ],
    ['add_special_tokens', prompt.type === 'text' && !prompt.addBos],
  ];
  for (const [field, isWanted] of wanted) {
    if (isWanted && (NEVER.includes(field) || LACKING[kind][prompt.type].includes(field))) {
      throw lacking(field, kind, 'leave it out');
    }
  }
  if (kind !== 'llama.cpp' || prompt.type !== 'chat') return;
  if (prompt.messages.at(-1)?.role === 'assistant') {
    throw new ServeError(
      'unsupported_parameter',
      'The engine behind this server (llama.cpp) would repeat a last message of the assistant and go on with it: end with one of the user, or give the gateway a bundle of the model.',
      { param: 'messages' },
    );
  }
}

function lacking(param: string, kind: UpstreamKind, advice: string): ServeError {
  return new ServeError(
    'unsupported_parameter',
    `${param} is not supported by the engine behind this server (${kind}): ${advice}.`,
    { param },
  );
}

function openAiLacks(): readonly Field[] {
  return [
    'top_k',
    'min_p',
    'repetition_penalty',
    'allowed_token_ids',
    'stop_token_ids',
    'ignore_eos',
    'echo',
    'return_token_ids',
    'cache_salt',
    'continue_final_message',
    'add_generation_prompt',
    'add_special_tokens',
  ];
}
