import type { TokenReport } from '../../src/completer.ts';
import type { JsonObject } from '../../src/openai/parse.ts';
import type { Dialect, Frame, UpstreamCall } from './call.ts';
import { countOf, idsOf, listOf, numberOf, objectOf, textOf } from './json.ts';
import type { Reports, SaidToken } from './reports.ts';
import { finishReason, samplingFields, tokenLimit } from './sampling.ts';
import { usageCounts } from './usage-counts.ts';

const TOKEN_ID = /^token_id:(\d+)$/;

/**
 * `POST /v1/completions`: ids or text in.
 *
 * vLLM (vllm/entrypoints/openai/completion/{protocol,serving}.py, 0.11 to 0.16): ids of prompt and
 * answer by `return_token_ids`; log probabilities under `token_id:N` by `return_tokens_as_token_ids`;
 * those of the prompt by `prompt_logprobs`, which it refuses to stream, so such answers come whole.
 * TGI (router/src/server.rs, 3.3): `finish_reason` is '' until the end, and the text of the token that
 * ends the turn is shown. gemlet: the prompt comes in a chunk of its own before the answer.
 */
export function createCompletionsDialect(reports: Reports, namesIds: boolean): Dialect {
  function body(call: UpstreamCall): JsonObject {
    const { kind, prompt, sampling } = call;
    const extended = kind === 'vllm' || kind === 'gemlet';
    const isWhole = kind === 'vllm' && call.reportsPrompt && sampling.promptLogprobs !== null;
    return {
      model: call.model,
      prompt: prompt.type === 'ids' ? prompt.ids : prompt.type === 'text' ? prompt.text : '',
      ...(extended && prompt.type === 'text' ? { add_special_tokens: prompt.addBos } : {}),
      ...samplingFields(call),
      ...tokenLimit(call, 'max_tokens'),
      ...(sampling.logprobs === null ? {} : { logprobs: sampling.logprobs }),
      ...(extended ? { return_token_ids: true } : {}),
      ...(kind === 'vllm' && namesIds ? { return_tokens_as_token_ids: true } : {}),
      ...(kind === 'vllm' && isWhole ? { prompt_logprobs: sampling.promptLogprobs } : {}),
      ...(kind === 'gemlet' && sampling.promptLogprobs !== null
        ? { echo: true, logprobs: sampling.logprobs ?? sampling.promptLogprobs }
        : {}),
      ...(call.salt === null ? {} : { cache_salt: call.salt }),
      ...(call.session === null ? {} : { prompt_cache_key: call.session }),
      ...(isWhole ? {} : { stream: true }),
      // TGI tells it anyhow, and old servers refuse the field.
      ...(isWhole || kind === 'tgi' ? {} : { stream_options: { include_usage: true } }),
    };
  }

  function reader(call: UpstreamCall): (frame: JsonObject) => Frame {
    const { kind, sampling } = call;
    const echoes = kind === 'gemlet' && sampling.promptLogprobs !== null;
    let isPromptDue = call.reportsPrompt;
    return (frame) => {
      const counts = usageCounts(frame);
      const choice = objectOf(listOf(frame['choices'])[0]);
      const promptIds = idsOf(choice['prompt_token_ids']);
      const ids = idsOf(choice['token_ids']);
      const said = saidTokens(choice['logprobs'], ids);
      let prompt: readonly TokenReport[] | null = null;
      if (isPromptDue && promptIds !== null) {
        isPromptDue = false;
        prompt = promptReports(call, choice, promptIds, echoes);
      }
      const isPromptChunk = echoes && promptIds !== null;
      const reason = textOf(choice['finish_reason']) ?? '';
      const isEnd = reason !== '';
      const hasEndText = kind === 'tgi' && reason === 'eos_token';
      return {
        text: isPromptChunk || hasEndText ? '' : (textOf(choice['text']) ?? ''),
        tokens: isPromptChunk
          ? []
          : said.map(([token, others]) => reports.report(token, others, sampling.logprobs)),
        prompt,
        ...(counts === undefined ? {} : { counts }),
        ...(isEnd ? { end: { reason: finishReason(reason), stop: choice['stop_reason'] } } : {}),
      };
    };
  }

  function promptReports(
    { sampling, kind }: UpstreamCall,
    choice: JsonObject,
    ids: readonly number[],
    echoes: boolean,
  ): readonly TokenReport[] {
    const count = sampling.promptLogprobs;
    if (echoes) {
      return saidTokens(choice['logprobs'], ids).map(([token, others]) =>
        reports.report(token, others, count),
      );
    }
    const positions = kind === 'vllm' ? listOf(choice['prompt_logprobs']) : [];
    return ids.map((id, position) => {
      const likely = Object.entries(objectOf(positions[position])).map(([key, value]) =>
        rankedToken(Number(key), objectOf(value)),
      );
      const own = likely.find((token) => token.id === id);
      const bare = { id, text: null, bytes: null, logprob: null };
      return reports.report(own ?? bare, likely, count);
    });
  }

  return { path: '/v1/completions', body, reader };
}

/** An entry of vLLM's `prompt_logprobs`. */
function rankedToken(id: number, entry: JsonObject): SaidToken {
  return {
    id,
    text: textOf(entry['decoded_token']),
    bytes: null,
    logprob: numberOf(entry['logprob']),
  };
}

/** Tokens of a chunk with the likeliest at their places; ids and log probabilities may each be absent. */
function saidTokens(
  logprobs: unknown,
  ids: readonly number[] | null,
): (readonly [SaidToken, readonly SaidToken[]])[] {
  const fields = objectOf(logprobs);
  const texts = listOf(fields['tokens']);
  const values = listOf(fields['token_logprobs']);
  const tops = listOf(fields['top_logprobs']);
  const length = Math.max(texts.length, ids?.length ?? 0);
  return Array.from({ length }, (_, at) => {
    const named = namedToken(texts[at], numberOf(values[at]));
    const token = { ...named, id: ids?.[at] ?? named.id };
    const others = Object.entries(objectOf(tops[at])).map(([text, value]) =>
      namedToken(text, numberOf(value)),
    );
    return [token, others] as const;
  });
}

function namedToken(said: unknown, logprob: number | null): SaidToken {
  const text = textOf(said);
  const id = countOf(Number(TOKEN_ID.exec(text ?? '')?.[1] ?? Number.NaN));
  return { id, text: id === null ? text : null, bytes: null, logprob };
}
