import { ServeError } from '../../src/errors.ts';
import type { JsonObject } from '../../src/openai/parse.ts';
import type { UpstreamPrompt } from './call.ts';
import type { Upstream } from './card.ts';
import { wireMessages } from './chat-dialect.ts';
import { lost } from './fault.ts';
import { idsOf, listOf, objectOf, textOf } from './json.ts';
import type { UpstreamLink } from './link.ts';

/**
 * Tokenizing by the server, for when we have no tokenizer: vLLM and gemlet `/tokenize` (prompt or
 * messages), SGLang the same for text, llama.cpp `/tokenize` and TGI `/tokenize` in their own fields.
 * @throws ServeError unsupported_parameter where the server cannot
 */
export async function tokenizeThere(
  link: UpstreamLink,
  { kind, model }: Upstream,
  prompt: UpstreamPrompt,
  signal: AbortSignal | undefined,
): Promise<readonly number[]> {
  if (prompt.type === 'ids') return prompt.ids;
  const answer = await link.post('/tokenize', requestOf(), signal);
  const ids =
    idsOf(answer['tokens']) ??
    idsOf(listOf(answer['tokens']).map((token) => objectOf(token)['id']));
  if (ids === null) throw lost('tokenized to something else than ids');
  return ids;

  function requestOf(): JsonObject {
    if (prompt.type === 'chat') {
      if (kind !== 'vllm' && kind !== 'gemlet') throw cannot('messages', kind);
      return {
        model,
        messages: wireMessages(prompt.messages),
        add_generation_prompt: prompt.addGenerationPrompt,
        continue_final_message: prompt.continueFinalMessage,
        ...(kind === 'gemlet' ? { strict_template: prompt.strict } : {}),
      };
    }
    if (prompt.type !== 'text') throw cannot('prompt', kind);
    const { text, addBos } = prompt;
    switch (kind) {
      case 'llama.cpp':
        return { content: text, add_special: addBos, parse_special: false };
      case 'vllm':
      case 'gemlet':
      case 'sglang':
        return { model, prompt: text, add_special_tokens: addBos };
      default:
        throw cannot('prompt', kind);
    }
  }
}

/** @throws ServeError unsupported_parameter where the server cannot */
export async function detokenizeThere(
  link: UpstreamLink,
  { kind, model }: Upstream,
  ids: readonly number[],
  signal: AbortSignal | undefined,
): Promise<string> {
  if (kind === 'tgi' || kind === 'openai') throw cannot('tokens', kind);
  const body = {
    tokens: ids,
    ...(kind === 'llama.cpp' ? {} : { model }),
    ...(kind === 'sglang' ? { skip_special_tokens: false } : {}),
  };
  const answer = await link.post('/detokenize', body, signal);
  const text = textOf(answer['prompt']) ?? textOf(answer['text']) ?? textOf(answer['content']);
  if (text === null) throw lost('did not say the text of the tokens');
  return text;
}

function cannot(param: string, kind: string): ServeError {
  return new ServeError(
    'unsupported_parameter',
    `The engine behind this server (${kind}) cannot tokenize ${param}: the gateway needs a tokenizer of its own, by a bundle of the model.`,
    { param },
  );
}
