import type { FakeUpstreamOptions } from './fake-upstream.ts';
import { type Said, type SaidWord, spell } from './fake-upstream-words.ts';

type Body = Readonly<Record<string, unknown>>;

/**
 * What a server of the kind answers: the frames of a stream, one JSON object where none was asked for,
 * null for what it does not read.
 */
export function fakeFrames(
  options: FakeUpstreamOptions,
  path: string,
  body: Body,
  said: Said,
): readonly string[] | object | null {
  const { kind } = options;
  const cached = options.cachedTokens ?? 0;
  switch (`${kind} ${path}`) {
    case 'sglang /generate':
      return [...sglangFrames(body, said, cached, options.isIncremental === true), DONE];
    case 'llama.cpp /completion':
      return body['stream'] === true ? llamaFrames(said, cached) : llamaWhole(body, said, cached);
    case 'vllm /v1/completions':
      if (body['stream'] !== true) return vllmWhole(body, said, cached);
      return [...vllmFrames(body, said), usage(said, cached), DONE];
    case 'tgi /v1/completions':
      return [...tgiFrames(said), DONE];
    case 'openai /v1/completions':
      return [...plainFrames(said), usage(said, cached), DONE];
    default:
      return path === '/v1/chat/completions'
        ? [...chatFrames(kind, body, said), usage(said, cached, kind === 'llama.cpp'), DONE]
        : null;
  }
}

const DONE = 'data: [DONE]\n\n';

function data(value: unknown): string {
  return `data: ${JSON.stringify(value)}\n\n`;
}

function usage(said: Said, cached: number, isLlama = false): string {
  const completion = said.words.length;
  return data({
    choices: [],
    usage: {
      prompt_tokens: said.promptTokens,
      completion_tokens: completion,
      total_tokens: said.promptTokens + completion,
      ...(cached === 0 && !isLlama ? {} : { prompt_tokens_details: { cached_tokens: cached } }),
    },
    ...(isLlama ? { timings: { cache_n: cached } } : {}),
  });
}

/** What the words show with stop strings held back and cut off; one piece a word. */
function pieces({ words, text }: Said): string[] {
  let shown = 0;
  return words.map(({ free }, at) => {
    const isLast = at === words.length - 1;
    const end = isLast ? text.length : Math.min(text.length, shown + free.length);
    const piece = text.slice(shown, end);
    shown = end;
    return piece;
  });
}

function reasonOf({ reason }: Said): string {
  return reason === 'length' ? 'length' : 'stop';
}

/** The end of turn is no stop reason to vLLM. */
function stopReason({ reason, matched }: Said): string | number | null {
  return reason === 'stop' ? matched : null;
}

function named(body: Body, id: number): string {
  return body['return_tokens_as_token_ids'] === true ? `token_id:${id}` : spell(id).token;
}

function legacyLogprobs(body: Body, words: readonly SaidWord[]): object | null {
  if (typeof body['logprobs'] !== 'number') return null;
  return {
    tokens: words.map(({ id }) => named(body, id)),
    token_logprobs: words.map(({ logprob }) => logprob),
    top_logprobs: words.map(({ id, logprob, top }) =>
      Object.fromEntries([
        [named(body, id), logprob],
        ...top.map((other) => [named(body, other.id), other.logprob]),
      ]),
    ),
    text_offset: words.map(() => 0),
  };
}

function vllmFrames(body: Body, said: Said): string[] {
  const shown = pieces(said);
  return said.words.map((word, at) => {
    const isLast = at === said.words.length - 1;
    return data({
      choices: [
        {
          index: 0,
          text: shown[at],
          logprobs: legacyLogprobs(body, [word]),
          finish_reason: isLast ? reasonOf(said) : null,
          stop_reason: isLast ? stopReason(said) : null,
          prompt_token_ids: at === 0 ? body['prompt'] : null,
          token_ids: body['return_token_ids'] === true ? [word.id] : null,
        },
      ],
      usage: null,
    });
  });
}

/** The only form in which vLLM gives log probabilities of the prompt by id. */
function vllmWhole(body: Body, said: Said, cached: number): object {
  const prompt = body['prompt'] as readonly number[];
  const count = Number(body['prompt_logprobs']);
  const { usage: counts } = JSON.parse(usage(said, cached).slice(6)) as { usage: object };
  return {
    choices: [
      {
        index: 0,
        text: said.text,
        logprobs: legacyLogprobs(body, said.words),
        finish_reason: reasonOf(said),
        stop_reason: stopReason(said),
        prompt_token_ids: prompt,
        token_ids: said.words.map(({ id }) => id),
        prompt_logprobs: prompt.map((id, at) =>
          at === 0 ? null : Object.fromEntries(ranked(id, count)),
        ),
      },
    ],
    usage: counts,
  };
}

function ranked(id: number, count: number): [string, object][] {
  return Array.from({ length: Math.max(1, count) }, (_, rank) => [
    String(id + rank),
    { logprob: -1 - rank, rank: rank + 1, decoded_token: spell(id + rank).token },
  ]);
}

function plainFrames(said: Said): string[] {
  const shown = pieces(said);
  return said.words.map((_, at) => {
    const isLast = at === said.words.length - 1;
    const choice = { index: 0, text: shown[at], logprobs: null };
    return data({ choices: [{ ...choice, finish_reason: isLast ? reasonOf(said) : null }] });
  });
}

/** Shows stop strings and the token that ends the turn; its reason is '' until the end. */
function tgiFrames(said: Said): string[] {
  return said.words.map(({ free, token, bytes }, at) => {
    const isLast = at === said.words.length - 1;
    const text = bytes.length === 0 ? token : free;
    const end = { eos: 'eos_token', stop: 'stop_sequence', length: 'length' }[said.reason];
    return data({
      choices: [{ index: 0, text, logprobs: null, finish_reason: isLast ? end : '' }],
      ...(isLast
        ? { usage: { prompt_tokens: said.promptTokens, completion_tokens: said.words.length } }
        : {}),
    });
  });
}

function chatFrames(kind: string, body: Body, said: Said): string[] {
  const shown = kind === 'tgi' ? said.words.map(({ free }) => free) : pieces(said);
  const nothing = kind === 'llama.cpp' ? null : '';
  const role = data({ choices: [{ index: 0, delta: { role: 'assistant', content: nothing } }] });
  const deltas = said.words.map((word, at) => {
    const isLast = at === said.words.length - 1;
    const logprobs = body['logprobs'] === true ? { content: [chatEntry(kind, word)] } : null;
    const ids = kind === 'vllm' ? { token_ids: [word.id] } : {};
    const tgiEnd = said.reason === 'stop' ? 'stop_sequence' : reasonOf(said);
    return data({
      choices: [
        {
          index: 0,
          delta: { content: shown[at] },
          logprobs,
          finish_reason: isLast ? (kind === 'tgi' ? tgiEnd : reasonOf(said)) : null,
          ...(isLast && kind === 'vllm' ? { stop_reason: stopReason(said) } : {}),
          // SGLang names the end of turn, too.
          ...(isLast && kind === 'sglang' ? { matched_stop: said.matched } : {}),
          ...ids,
        },
      ],
    });
  });
  return [role, ...deltas];
}

function chatEntry(kind: string, { id, token, bytes, logprob, top }: SaidWord): object {
  const entry = { token, logprob, ...(kind === 'tgi' ? {} : { bytes }) };
  return {
    ...entry,
    ...(kind === 'llama.cpp' ? { id } : {}),
    top_logprobs: top.map((other) => ({ ...spell(other.id), logprob: other.logprob })),
  };
}

/** Each frame repeats all so far; what begins a stop string shows until the end, which cuts it off. */
function sglangFrames(body: Body, said: Said, cached: number, isIncremental: boolean): string[] {
  const { words } = said;
  const prompt = (body['input_ids'] ?? []) as readonly number[];
  let shown = '';
  return words.map((word, at) => {
    const isLast = at === words.length - 1;
    const before = shown.length;
    shown = isLast ? said.text : shown + word.free;
    const from = isIncremental ? at : 0;
    const told = words.slice(from, at + 1);
    const wants = body['return_logprob'] === true;
    const tops = told.map(({ top }) => top.map((other) => [other.logprob, other.id, null]));
    return data({
      text: isIncremental ? shown.slice(before) : shown,
      output_ids: told.map(({ id }) => id),
      meta_info: {
        id: 'r',
        prompt_tokens: said.promptTokens,
        completion_tokens: at + 1,
        cached_tokens: cached,
        finish_reason: isLast ? sglangReason(said) : null,
        ...(wants
          ? {
              output_token_logprobs: told.map(({ id, logprob }) => [logprob, id, null]),
              output_top_logprobs: tops,
              input_token_logprobs: prompt.map((id, i) => [i === 0 ? null : -1, id, null]),
              input_top_logprobs: prompt.map((id, i) => (i === 0 ? null : [[-1, id, null]])),
            }
          : {}),
      },
    });
  });
}

function sglangReason({ reason, matched, words }: Said): object {
  return reason === 'length' ? { type: 'length', length: words.length } : { type: 'stop', matched };
}

/** Tokens that end within a character, or begin a stop string, get no frame of their own. */
function llamaFrames(said: Said, cached: number): string[] {
  const shown = pieces(said);
  const partial = said.words.flatMap(({ id }, at) =>
    shown[at] === '' ? [] : [data({ content: shown[at], tokens: [id], stop: false })],
  );
  return [...partial, data({ ...llamaEnd(said, cached), content: '', tokens: [] })];
}

function llamaWhole(body: Body, said: Said, cached: number): object {
  const entries = said.words.map(({ id, token, bytes, logprob, top }) => ({
    id,
    token,
    bytes,
    logprob,
    top_logprobs: top.map((other) => ({
      id: other.id,
      ...spell(other.id),
      logprob: other.logprob,
    })),
  }));
  return {
    ...llamaEnd(said, cached),
    content: said.text,
    tokens: said.words.map(({ id }) => id),
    ...(body['n_probs'] === undefined ? {} : { completion_probabilities: entries }),
  };
}

function llamaEnd(said: Said, cached: number): object {
  return {
    stop: true,
    stop_type: { eos: 'eos', stop: 'word', length: 'limit' }[said.reason],
    stopping_word: said.reason === 'stop' ? said.matched : '',
    tokens_predicted: said.words.length,
    tokens_evaluated: said.promptTokens,
    tokens_cached: said.promptTokens + said.words.length,
    timings: { cache_n: cached, prompt_n: said.promptTokens - cached },
  };
}
