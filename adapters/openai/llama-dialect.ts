import type { JsonObject } from '../../src/openai/parse.ts';
import type { Dialect, Frame, UpstreamCall } from './call.ts';
import { countOf, idsOf, listOf, numberOf, objectOf, textOf } from './json.ts';
import type { Reports, SaidToken } from './reports.ts';
import { samplingFields, tokenLimit } from './sampling.ts';

/**
 * llama.cpp's own `POST /completion` (tools/server/README.md, server-task.cpp and server-context.cpp,
 * builds of 2026): ids in, no `[DONE]` at the end. Its stream leaves out tokens that end within a
 * character, so answers whose tokens are to be shown come whole. Cached tokens are `timings.cache_n`;
 * `tokens_cached` is all that its slot then holds. Log probabilities are those of the model, before
 * sampling.
 */
export function createLlamaDialect(reports: Reports): Dialect {
  function reader(call: UpstreamCall): (frame: JsonObject) => Frame {
    const { sampling } = call;
    return (frame) => {
      const ids = idsOf(frame['tokens']) ?? [];
      const entries = listOf(frame['completion_probabilities']).map(objectOf);
      const tokens = Array.from({ length: Math.max(ids.length, entries.length) }, (_, at) => {
        const entry = entries[at] ?? {};
        const token = saidToken(entry);
        return reports.report(
          { ...token, id: ids[at] ?? token.id },
          listOf(entry['top_logprobs']).map((other) => saidToken(objectOf(other))),
          sampling.logprobs,
        );
      });
      const isEnd = frame['stop'] === true;
      return {
        text: textOf(frame['content']) ?? '',
        tokens,
        counts: {
          promptTokens: countOf(frame['tokens_evaluated']),
          completionTokens: countOf(frame['tokens_predicted']),
          cachedTokens: countOf(objectOf(frame['timings'])['cache_n']),
        },
        ...(isEnd ? { end: endOf(frame) } : {}),
      };
    };
  }

  return { path: '/completion', body, reader };
}

function body(call: UpstreamCall): JsonObject {
  const { prompt, sampling } = call;
  const showsTokens = sampling.logprobs !== null || call.reportsIds;
  const { logit_bias: _, ...fields } = samplingFields(call);
  return {
    prompt: prompt.type === 'ids' ? prompt.ids : prompt.type === 'text' ? prompt.text : '',
    ...fields,
    ...tokenLimit(call, 'n_predict'),
    ...(sampling.logitBias.size > 0 ? { logit_bias: Array.from(sampling.logitBias, bias) } : {}),
    // 0 would be none at all.
    ...(sampling.logprobs === null ? {} : { n_probs: Math.max(1, sampling.logprobs) }),
    cache_prompt: true,
    return_tokens: true,
    stream: !showsTokens,
  };
}

/** -100 bans: llama.cpp knows that as false. */
function bias([id, value]: readonly [number, number]): readonly [number, number | false] {
  return [id, value <= -100 ? false : value];
}

function endOf(frame: JsonObject): NonNullable<Frame['end']> {
  const type = frame['stop_type'];
  const reason = type === 'limit' || type === 'none' ? 'length' : 'stop';
  return { reason, stop: type === 'word' ? frame['stopping_word'] : null };
}

function saidToken(entry: JsonObject): SaidToken {
  return {
    id: numberOf(entry['id']),
    text: textOf(entry['token']),
    bytes: idsOf(entry['bytes']),
    logprob: numberOf(entry['logprob']),
  };
}
