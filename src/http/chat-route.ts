import type { Handler } from 'hono';
import { createAnswerMeta } from '../openai/answer-meta.ts';
import { parseChatRequest } from '../openai/chat-request.ts';
import { chatChunks, chatCompletion, type ChatShape } from '../openai/chat-response.ts';
import { createCollector } from '../openai/collect.ts';
import { answerSignal, streamAnswer } from './answer.ts';
import { type AppEnv, type AppParts, requestContext } from './app-env.ts';
import { readJson } from './body.ts';
import { tracedCompletion } from './completion-events.ts';

/** `POST /v1/chat/completions`. */
export function chatRoute(parts: AppParts): Handler<AppEnv> {
  return async function chatHandler(c) {
    const body = await readJson(c.req.raw, parts.limits);
    const call = parseChatRequest(body, requestContext(c, parts));
    const answer = answerSignal(c.req.raw);
    const trace = c.get('trace');
    const meta = createAnswerMeta('chatcmpl', parts.completer.model.id, parts.clock);
    const events = tracedCompletion(
      parts.completer,
      call.request,
      trace,
      parts.clock,
      answer.signal,
    );
    const shape: ChatShape = {
      choiceCount: call.request.choiceCount,
      logprobs: call.logprobs,
      tokenIds: call.request.returnTokenIds,
      includeUsage: call.includeUsage,
    };
    if (call.stream) {
      return streamAnswer(c, chatChunks(meta, events, trace.usage(), shape), answer, parts);
    }
    const collector = createCollector(shape.choiceCount);
    for await (const event of events) collector.add(event);
    return c.json(chatCompletion(meta, collector.result(), trace.usage(), shape));
  };
}
