import { refuse, type KnownField } from './verdict.ts';

const GRAMMARS = 'answers cannot be forced into a form, describe it in the prompt';
const NO_TOOLS = 'describe the functions in the prompt instead';
const NO_ADAPTERS = 'adapters are not loaded, serve a merged model';
const PENALTIES = 'use temperature, top_k, top_p, min_p and the penalties';
const NO_BEAMS = 'answers are sampled, leave it out';
const OLLAMA = 'send its fields by their OpenAI names at the top level';

/** OpenAI's own. */
const OPENAI: readonly KnownField[] = [
  refuse('tools', NO_TOOLS, [[]]),
  refuse('tool_choice', NO_TOOLS, ['none']),
  refuse('functions', NO_TOOLS, [[]]),
  refuse('function_call', NO_TOOLS, ['none']),
  refuse('response_format', GRAMMARS, [{ type: 'text' }]),
  refuse('modalities', 'answers are text', [[], ['text']]),
  refuse('audio', 'answers are text'),
  refuse('web_search_options', 'nothing is searched, leave it out'),
  refuse('prediction', 'leave it out; --speculate guesses from the conversation'),
  refuse('suffix', 'Gemma 3 does not fill in the middle', ['']),
  refuse('best_of', 'use n and choose by logprobs', [1]),
  refuse('top_logprobs', 'here logprobs itself is the number', [0], 'completions'),
];

/** What vLLM and SGLang add. */
const ENGINES: readonly KnownField[] = [
  refuse('guided_json', GRAMMARS),
  refuse('guided_json_object', GRAMMARS, [false]),
  refuse('guided_regex', GRAMMARS, ['']),
  refuse('guided_choice', GRAMMARS, [[]]),
  refuse('guided_grammar', GRAMMARS, ['']),
  refuse('structured_outputs', GRAMMARS),
  refuse('structural_tag', GRAMMARS),
  refuse('regex', GRAMMARS, ['']),
  refuse('ebnf', GRAMMARS, ['']),
  refuse('json_schema', GRAMMARS),
  refuse('stop_regex', 'use stop, which takes plain strings', ['', []]),
  refuse('use_beam_search', NO_BEAMS, [false]),
  refuse('length_penalty', NO_BEAMS, [1]),
  refuse('num_beams', NO_BEAMS, [1]),
  refuse('bad_words', 'ban token ids by logit_bias: -100', [[]]),
  refuse('skip_special_tokens', 'return_token_ids reports special tokens', [true]),
  refuse('truncate_prompt_tokens', 'shorten the prompt before sending it'),
  refuse('prompt_logprobs', 'use echo with logprobs on /v1/completions'),
  refuse('logprob_token_ids', 'use top_logprobs', [[]]),
  refuse('logits_processors', PENALTIES, [[]]),
  refuse('custom_logit_processor', PENALTIES, ['']),
  refuse('repetition_detection', 'use frequency_penalty or repetition_penalty'),
  refuse('max_repetition_pattern_size', 'use frequency_penalty or repetition_penalty', [0]),
  refuse('chat_template', "the model's own template is always used"),
  refuse('documents', 'put them into a message', [[]]),
  refuse(
    'echo',
    'use continue_final_message, and put the message before it yourself',
    [false],
    'chat',
  ),
  refuse('add_special_tokens', 'the template begins with <bos> already', [false], 'chat'),
  refuse('mm_processor_kwargs', 'there are no pictures on this route', [{}], 'completions'),
  refuse('media_io_kwargs', 'pictures are read as the reference does', [{}]),
  refuse('images_config', 'pictures are read as the reference does', [{}]),
  refuse('prompt_embeds', 'send text or token ids'),
  refuse('input_ids', 'send token ids as the prompt of /v1/completions'),
  refuse('session_params', 'send the whole conversation; x-session-id names it'),
  refuse('return_hidden_states', 'leave it out', [false]),
  refuse('return_prompt_token_ids', 'use return_token_ids', [false]),
  refuse('return_prompt_text', 'use /tokenize and /detokenize', [false]),
  refuse('watermarking', 'answers have no watermark', [false]),
  refuse('lora_path', NO_ADAPTERS),
  refuse('lora_id', NO_ADAPTERS),
];

/** What llama.cpp, Ollama, TGI, OpenRouter and Cloudflare add. */
const OTHERS: readonly KnownField[] = [
  refuse('grammar', GRAMMARS, ['']),
  refuse('format', GRAMMARS, ['']),
  refuse('typical_p', PENALTIES, [1]),
  refuse('tfs_z', PENALTIES, [1]),
  refuse('top_a', PENALTIES, [0]),
  refuse('top_n_sigma', PENALTIES, [-1, 0]),
  refuse('mirostat', PENALTIES, [0]),
  refuse('dry_multiplier', PENALTIES, [0]),
  refuse('xtc_probability', PENALTIES, [0]),
  refuse('dynatemp_range', PENALTIES, [0]),
  refuse('adaptive_target', PENALTIES, [-1]),
  refuse('samplers', 'top_k, top_p, min_p are applied in this order', ['', []]),
  refuse('min_keep', PENALTIES, [0, 1]),
  refuse('no_repeat_ngram_size', PENALTIES, [0]),
  {
    name: 'repeat_last_n',
    route: 'both',
    verdict: {
      type: 'refuse',
      passes: [-1],
      hint: 'the repetition penalty looks at all tokens, send -1',
      isIdle: (body) => (body['repetition_penalty'] ?? body['repeat_penalty'] ?? 1) === 1,
    },
  },
  refuse('n_predict', 'use max_tokens', [-1]),
  refuse('max_new_tokens', 'use max_tokens', [-1]),
  refuse('max_length', 'use max_tokens', [-1]),
  refuse('n_probs', 'use logprobs', [0]),
  refuse('post_sampling_probs', 'use logprobs, which are those before sampling', [false]),
  refuse('top_n_tokens', 'use logprobs', [0]),
  refuse('details', 'use logprobs and return_token_ids', [false]),
  refuse('decoder_input_details', 'use echo with logprobs on /v1/completions', [false]),
  refuse('return_full_text', 'use echo on /v1/completions', [false]),
  refuse('return_tokens', 'use return_token_ids', [false]),
  refuse('response_fields', 'the whole answer is sent', [[]]),
  refuse('do_sample', 'use temperature: 0 for the most likely tokens', [true]),
  refuse('t_max_predict_ms', 'end the answer by closing the connection', [0, -1]),
  refuse('n_indent', 'leave it out', [0]),
  refuse('input_prefix', 'Gemma 3 does not fill in the middle', ['']),
  refuse('input_suffix', 'Gemma 3 does not fill in the middle', ['']),
  refuse('lora', NO_ADAPTERS, [[]]),
  refuse('adapter_id', NO_ADAPTERS),
  refuse('watermark', 'answers have no watermark', [false]),
  refuse('truncate', 'shorten the prompt before sending it', [false]),
  refuse('transforms', 'shorten the prompt before sending it', [[]]),
  refuse('plugins', 'leave them out', [[]]),
  refuse('image_config', 'answers are text'),
  refuse('options', OLLAMA, [{}]),
  refuse('parameters', OLLAMA, [{}]),
  refuse('extra_body', 'send its fields at the top level', [{}]),
  refuse('template', "the model's own template is always used", ['']),
  refuse('system', 'send a system message'),
  refuse('images', 'send image_url parts in a message', [[]]),
  refuse('image_data', 'send image_url parts in a message', [[]]),
  refuse('raw', 'use /v1/completions for a prompt without a template', [false]),
];

/** What would change the answer if it were silently ignored. */
export const REFUSED: readonly KnownField[] = [...OPENAI, ...ENGINES, ...OTHERS];
