import type { CompletionRequest, ModelCard } from '../../src/completer.ts';
import { sha256Hex } from '../../src/lib/sha256-hex.ts';
import type { UpstreamCall, UpstreamKind, UpstreamPrompt } from './call.ts';
import type { Upstream } from './card.ts';

/**
 * How the first choice is asked for.
 * @param request of which nothing is refused any more
 */
export async function toCall(
  request: CompletionRequest,
  prompt: UpstreamPrompt,
  { kind, model, card }: Upstream,
  sessionHeader: string | null,
): Promise<UpstreamCall> {
  const { scope, tenant, sessionId, sampling, returnTokenIds } = request;
  const hasSalt = scope !== '' && (kind === 'vllm' || kind === 'sglang' || kind === 'gemlet');
  const session = sessionId === null ? null : await digest(`${tenant}\0${sessionId}`);
  return {
    kind,
    model,
    contextTokens: card.contextTokens,
    prompt,
    sampling: { ...sampling, maxTokens: maxTokens(request, prompt, kind, card) },
    reportsPrompt: returnTokenIds || sampling.promptLogprobs !== null,
    reportsIds: returnTokenIds,
    // The scope comes from an API key: hashed, so that no log there holds anything of it.
    salt: hasSalt ? await digest(scope) : null,
    session: kind === 'gemlet' ? session : null,
    headers: sessionHeader === null || session === null ? {} : { [sessionHeader]: session },
  };
}

/** Only with ids is it known here what is left of the context; else the server decides. */
function maxTokens(
  { sampling }: CompletionRequest,
  prompt: UpstreamPrompt,
  kind: UpstreamKind,
  card: ModelCard,
): number | null {
  if (sampling.maxTokens !== null || prompt.type !== 'ids' || kind === 'gemlet') {
    return sampling.maxTokens;
  }
  const left = card.contextTokens - prompt.ids.length;
  // With nothing left, ask for one: the server's refusal then names the numbers.
  return Math.max(1, Math.min(left, card.defaults.maxTokens));
}

/** Choices differ by seed; the prompt is reported on once. */
export function choiceCall(call: UpstreamCall, index: number): UpstreamCall {
  if (index === 0) return call;
  const seed = (call.sampling.seed + index) >>> 0;
  return {
    ...call,
    sampling: { ...call.sampling, seed, promptLogprobs: null },
    reportsPrompt: false,
  };
}

function digest(text: string): Promise<string> {
  return sha256Hex(new TextEncoder().encode(`gemlet\0${text}`));
}
