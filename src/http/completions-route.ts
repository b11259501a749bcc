import type { Handler } from 'hono';
import type { Completer, CompletionRequest } from '../completer.ts';
import { mergeStreams } from '../lib/merge-streams.ts';
import { createAnswerMeta } from '../openai/answer-meta.ts';
import { createCollector } from '../openai/collect.ts';
import { parseCompletionsRequest } from '../openai/completions-request.ts';
import {
  type CompletionsShape,
  type EchoedPrompt,
  textChunks,
  textCompletion,
} from '../openai/completions-response.ts';
import { answerSignal, streamAnswer } from './answer.ts';
import { type AppEnv, type AppParts, requestContext } from './app-env.ts';
import { readJson } from './body.ts';
import { tracedCompletion } from './completion-events.ts';

/** Prompts of one request that run at once: enough to fill a batch, few enough to be fair. */
const PROMPT_CONCURRENCY = 8;

/** `POST /v1/completions`. */
export function completionsRoute(parts: AppParts): Handler<AppEnv> {
  return async function completionsHandler(c) {
    const body = await readJson(c.req.raw, parts.limits);
    const call = parseCompletionsRequest(body, requestContext(c, parts));
    const { completer } = parts;
    const answer = answerSignal(c.req.raw);
    const trace = c.get('trace');
    const meta = createAnswerMeta('cmpl', completer.model.id, parts.clock);
    const sources = call.requests.map(
      (request) => (signal: AbortSignal) =>
        tracedCompletion(completer, request, trace, parts.clock, signal),
    );
    const events = mergeStreams(sources, PROMPT_CONCURRENCY, answer.signal);
    const shape: CompletionsShape = {
      choiceCount: call.choiceCount,
      logprobs: call.logprobs,
      tokenIds: call.requests[0]?.returnTokenIds ?? false,
      echo: call.echo ? call.requests.map((request) => echoOf(request, completer)) : null,
      includeUsage: call.includeUsage,
    };
    if (call.stream) {
      const count = call.requests.length;
      return streamAnswer(c, textChunks(meta, events, count, trace.usage(), shape), answer, parts);
    }
    const collectors = call.requests.map(() => createCollector(call.choiceCount));
    for await (const [index, event] of events) collectors[index]?.add(event);
    const collected = collectors.map((collector) => collector.result());
    return c.json(textCompletion(meta, collected, trace.usage(), shape));
  };
}

function echoOf({ prompt }: CompletionRequest, completer: Completer): EchoedPrompt {
  if (prompt.type === 'tokens') {
    return { text: completer.detokenize(prompt.ids), specialsShown: true };
  }
  return { text: prompt.type === 'text' ? prompt.text : '', specialsShown: false };
}
