import type { TokenReport } from '../../src/completer.ts';
import { isObject, type JsonObject } from '../../src/openai/parse.ts';
import type { Dialect, Frame, UpstreamCall } from './call.ts';
import { explainFailure, lost } from './fault.ts';
import { countOf, idsOf, listOf, numberOf, objectOf, textOf } from './json.ts';
import type { Reports, SaidToken } from './reports.ts';
import { finishReason, samplingFields, tokenLimit } from './sampling.ts';

/**
 * SGLang's own `POST /generate` (python/sglang/srt/managers/{io_struct,tokenizer_manager}.py and
 * sampling/sampling_params.py, 0.5): ids in, ids and log probabilities by id out, cached tokens in every
 * frame. Each frame repeats everything said so far, unless the server was started to stream increments.
 * Seeds hold only where it runs with `--enable-deterministic-inference`.
 * @param isIncremental the server's `incremental_streaming_output`
 */
export function createSglangDialect(reports: Reports, isIncremental: boolean): Dialect {
  function reader(call: UpstreamCall): (frame: JsonObject) => Frame {
    const { sampling, prompt: sent } = call;
    let textLength = 0;
    let tokenCount = 0;
    let isPromptDue = call.reportsPrompt;
    return (frame) => {
      const meta = objectOf(frame['meta_info']);
      const total = countOf(meta['completion_tokens']);
      const ids = idsOf(frame['output_ids']) ?? [];
      // Versions differ in which lists repeat what was said: one as long as the answer does.
      const news = (list: readonly unknown[]): readonly unknown[] =>
        list.length === total ? list.slice(tokenCount) : list;
      const values = news(listOf(meta['output_token_logprobs']));
      const tops = news(listOf(meta['output_top_logprobs']));
      const tokens = news(ids).map((id, at) =>
        reports.report(
          { ...saidToken(values[at]), id: Number(id) },
          listOf(tops[at]).map(saidToken),
          sampling.logprobs,
        ),
      );
      tokenCount += tokens.length;
      const shown = textOf(frame['text']) ?? '';
      const text = isIncremental ? shown : shown.slice(textLength);
      textLength = Math.max(textLength, shown.length);
      let prompt: readonly TokenReport[] | null = null;
      if (isPromptDue && sent.type === 'ids') {
        isPromptDue = false;
        prompt = promptReports(meta, sent.ids, sampling.promptLogprobs);
      }
      const finish = meta['finish_reason'];
      return {
        text,
        tokens,
        prompt,
        counts: {
          promptTokens: countOf(meta['prompt_tokens']),
          cachedTokens: countOf(meta['cached_tokens']),
          completionTokens: total,
        },
        ...(isObject(finish) ? { end: endOf(finish) } : {}),
      };
    };
  }

  function promptReports(
    meta: JsonObject,
    ids: readonly number[],
    count: number | null,
  ): readonly TokenReport[] {
    const values = count === null ? [] : listOf(meta['input_token_logprobs']);
    const tops = count === null ? [] : listOf(meta['input_top_logprobs']);
    return ids.map((id, at) =>
      reports.report(
        { ...saidToken(values[at]), id },
        listOf(tops[at]).map(saidToken),
        // Nothing predicted the first one.
        at === 0 ? null : count,
      ),
    );
  }

  return { path: '/generate', body, reader };
}

function body(call: UpstreamCall): JsonObject {
  const { prompt, sampling } = call;
  const wantsPrompt = call.reportsPrompt && sampling.promptLogprobs !== null;
  const { seed, ...fields } = samplingFields(call);
  return {
    ...(prompt.type === 'ids' ? { input_ids: prompt.ids } : {}),
    ...(prompt.type === 'text' ? { text: prompt.text } : {}),
    sampling_params: {
      ...fields,
      ...tokenLimit(call, 'max_new_tokens'),
      sampling_seed: seed,
    },
    ...(sampling.logprobs !== null || wantsPrompt
      ? {
          return_logprob: true,
          top_logprobs_num: Math.max(sampling.logprobs ?? 0, sampling.promptLogprobs ?? 0),
          return_text_in_logprobs: true,
          ...(wantsPrompt ? { logprob_start_len: 0 } : {}),
        }
      : {}),
    ...(call.salt === null ? {} : { extra_key: call.salt }),
    stream: true,
  };
}

/** `[logprob, id, text or null]` */
function saidToken(entry: unknown): SaidToken {
  const [logprob, id, text] = listOf(entry);
  return { id: numberOf(id), text: textOf(text), bytes: null, logprob: numberOf(logprob) };
}

function endOf(finish: JsonObject): NonNullable<Frame['end']> {
  const type = textOf(finish['type']) ?? '';
  const status = countOf(finish['status_code']);
  if (type === 'abort' && status !== null) {
    const message = textOf(finish['message']) ?? '';
    const failure = { status, message, name: '', param: null, retryAfterMs: null };
    throw explainFailure(failure, (text) => text);
  }
  if (type === '') throw lost('said no reason for its end');
  return { reason: finishReason(type), stop: finish['matched'] };
}
