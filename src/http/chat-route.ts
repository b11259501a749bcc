import type { Handler } from 'hono';
import type { CompletionEvent } from '../completer.ts';
import { createAnswerMeta } from '../openai/answer-meta.ts';
import { parseChatRequest } from '../openai/chat-request.ts';
import { chatChunks, chatCompletion, type ChatShape } from '../openai/chat-response.ts';
import { createCollector } from '../openai/collect.ts';
import { answerSignal, streamAnswer, wholeAnswer } from './answer.ts';
import { type AppEnv, type AppParts, requestContext } from './app-env.ts';
import { readJson } from './body.ts';
import { createHold } from './cold.ts';
import { tracedCompletion } from './completion-events.ts';
import { prefersJob, refuseStreamedJob } from './job-routes.ts';
import { echoSession } from './session-routes.ts';

/** `POST /v1/chat/completions`. */
export function chatRoute(parts: AppParts): Handler<AppEnv> {
  const { clock } = parts;
  return async function chatHandler(c) {
    const hold = createHold(parts, c.req.raw.signal);
    const body = await readJson(c, parts.limits);
    const context = await requestContext(c, parts, hold);
    const call = parseChatRequest(body, context);
    if (call.stream && prefersJob(c.req.raw)) refuseStreamedJob();
    echoSession(c, call.request.sessionId);
    const trace = c.get('trace');
    const meta = await createAnswerMeta('chatcmpl', context.card, parts.version, clock);
    const shape: ChatShape = {
      choiceCount: call.request.choiceCount,
      logprobs: call.logprobs,
      tokenIds: call.request.returnTokenIds,
      tokensAsIds: call.tokensAsIds,
      includeUsage: call.includeUsage,
    };
    const begin = (signal: AbortSignal): AsyncIterable<CompletionEvent> =>
      tracedCompletion(parts, call.request, trace, signal);
    if (call.stream) {
      const answer = answerSignal(c.req.raw);
      const chunks = chatChunks(meta, begin(answer.signal), trace.usage(), shape);
      return streamAnswer(c, chunks, answer, parts);
    }
    const run = async (signal: AbortSignal, onStart: () => void): Promise<object> => {
      const collector = createCollector(shape.choiceCount);
      for await (const event of begin(signal)) {
        onStart();
        collector.add(event);
      }
      return chatCompletion(meta, collector.result(), trace.usage(), shape);
    };
    return wholeAnswer(c, run, shape.choiceCount, hold, parts);
  };
}
