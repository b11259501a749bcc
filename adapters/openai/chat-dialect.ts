import type { ChatMessage, MessagePart } from '../../src/prompt/messages.ts';
import type { JsonObject } from '../../src/openai/parse.ts';
import type { Dialect, Frame, UpstreamCall } from './call.ts';
import { idsOf, listOf, numberOf, objectOf, textOf } from './json.ts';
import type { Reports, SaidToken } from './reports.ts';
import { finishReason, samplingFields, tokenLimit } from './sampling.ts';
import { usageCounts } from './usage-counts.ts';

/**
 * `POST /v1/chat/completions`: messages in, which the server puts into its own template. It is the way
 * for images, for servers that take no ids, and where we have no tokenizer. Except with gemlet, its
 * template and its image preprocessing apply then, not ours.
 *
 * vLLM (chat_completion/protocol.py) and gemlet give ids by `return_token_ids`; SGLang
 * (openai/protocol.py, 0.5) has `matched_stop`; llama.cpp (server-task.cpp) shows ids and bytes in its
 * log probabilities; TGI (router/src/chat.rs, 3.3) shows texts only.
 */
export function createChatDialect(reports: Reports): Dialect {
  return {
    path: '/v1/chat/completions',
    body(call) {
      const { kind, prompt, sampling } = call;
      const isChat = prompt.type === 'chat';
      return {
        model: call.model,
        messages: isChat ? wireMessages(prompt.messages) : [],
        ...(isChat ? templateFields(call, prompt) : {}),
        ...samplingFields(call),
        ...tokenLimit(call, 'max_tokens'),
        ...(sampling.logprobs === null
          ? {}
          : {
              logprobs: true,
              ...(sampling.logprobs > 0 ? { top_logprobs: sampling.logprobs } : {}),
            }),
        ...(kind === 'vllm' || kind === 'gemlet' ? { return_token_ids: true } : {}),
        ...(call.salt === null ? {} : { cache_salt: call.salt }),
        ...(call.session === null ? {} : { prompt_cache_key: call.session }),
        stream: true,
        stream_options: { include_usage: true },
      };
    },
    reader(call) {
      let isPromptDue = call.reportsPrompt;
      return (frame): Frame => {
        const counts = usageCounts(frame);
        const choice = objectOf(listOf(frame['choices'])[0]);
        const promptIds = isPromptDue ? idsOf(frame['prompt_token_ids']) : null;
        if (promptIds !== null) isPromptDue = false;
        const reason = textOf(choice['finish_reason']);
        return {
          text: textOf(objectOf(choice['delta'])['content']) ?? '',
          tokens: saidTokens(choice).map(([token, others]) =>
            reports.report(token, others, call.sampling.logprobs),
          ),
          prompt: promptIds?.map((id) => reports.report(bare(id), [], null)) ?? null,
          ...(counts === undefined ? {} : { counts }),
          ...(reason === null
            ? {}
            : { end: { reason: finishReason(reason), stop: stopOf(choice) } }),
        };
      };
    },
  };
}

function templateFields(
  { kind }: UpstreamCall,
  prompt: Extract<UpstreamCall['prompt'], { type: 'chat' }>,
): JsonObject {
  const { addGenerationPrompt, continueFinalMessage, strict } = prompt;
  if (kind === 'gemlet') {
    return {
      add_generation_prompt: addGenerationPrompt,
      continue_final_message: continueFinalMessage,
      strict_template: strict,
    };
  }
  if (kind === 'vllm') {
    return {
      add_generation_prompt: addGenerationPrompt,
      continue_final_message: continueFinalMessage,
    };
  }
  return continueFinalMessage ? { continue_final_message: true } : {};
}

export function wireMessages(messages: readonly ChatMessage[]): readonly JsonObject[] {
  return messages.map(wireMessage);
}

function wireMessage({ role, parts }: ChatMessage): JsonObject {
  const [only, ...others] = parts;
  if (others.length === 0 && only?.type === 'text') return { role, content: only.text };
  return { role, content: parts.map(wirePart) };
}

/** Images are data URIs by now: a URL of a user is never handed on to be fetched. */
function wirePart(part: MessagePart): JsonObject {
  if (part.type === 'text') return { type: 'text', text: part.text };
  const { source, panAndScan } = part;
  const url = source.type === 'url' ? source.url : '';
  return { type: 'image_url', image_url: { url, ...(panAndScan ? { detail: 'high' } : {}) } };
}

/** SGLang's `matched_stop` is what vLLM calls `stop_reason`. */
function stopOf(choice: JsonObject): unknown {
  return choice['stop_reason'] ?? choice['matched_stop'];
}

function saidTokens(choice: JsonObject): (readonly [SaidToken, readonly SaidToken[]])[] {
  const ids = idsOf(choice['token_ids']);
  const content = listOf(objectOf(choice['logprobs'])['content']);
  const length = Math.max(content.length, ids?.length ?? 0);
  return Array.from({ length }, (_, at) => {
    const entry = objectOf(content[at]);
    const token = saidToken(entry);
    const others = listOf(entry['top_logprobs']).map((other) => saidToken(objectOf(other)));
    return [{ ...token, id: ids?.[at] ?? token.id }, others] as const;
  });
}

function saidToken(entry: JsonObject): SaidToken {
  return {
    id: numberOf(entry['id']),
    text: textOf(entry['token']),
    bytes: idsOf(entry['bytes']),
    logprob: numberOf(entry['logprob']),
  };
}

function bare(id: number): SaidToken {
  return { id, text: null, bytes: null, logprob: null };
}
