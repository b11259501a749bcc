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
import { answerSignal, streamAnswer, wholeAnswer } from './answer.ts';
import { type AppEnv, type AppParts, requestContext } from './app-env.ts';
import { readJson } from './body.ts';
import { createHold } from './cold.ts';
import { tracedCompletion } from './completion-events.ts';
import { prefersJob, refuseStreamedJob } from './job-routes.ts';
import { echoSession } from './session-routes.ts';

/** Prompts of one request that run at once: enough to fill a batch, few enough to be fair. */
const PROMPT_CONCURRENCY = 8;

/** `POST /v1/completions`. */
export function completionsRoute(parts: AppParts): Handler<AppEnv> {
  const { completer, clock } = parts;
  return async function completionsHandler(c) {
    const hold = createHold(parts, c.req.raw.signal);
    const body = await readJson(c, parts.limits);
    const context = await requestContext(c, parts, hold);
    const call = parseCompletionsRequest(body, context);
    if (call.stream && prefersJob(c.req.raw)) refuseStreamedJob();
    echoSession(c, call.requests[0]?.sessionId ?? null);
    const trace = c.get('trace');
    const meta = await createAnswerMeta('cmpl', context.card, parts.version, clock);
    const sources = call.requests.map(
      (request) => (signal: AbortSignal) => tracedCompletion(parts, request, trace, signal),
    );
    const shapeOf = async (signal: AbortSignal): Promise<CompletionsShape> => ({
      choiceCount: call.choiceCount,
      logprobs: call.logprobs,
      tokenIds: call.requests[0]?.returnTokenIds ?? false,
      echo: call.echo ? await echoesOf(call.requests, completer, signal) : null,
      tokensAsIds: call.tokensAsIds,
      includeUsage: call.includeUsage,
    });
    if (call.stream) {
      const answer = answerSignal(c.req.raw);
      const echoesIds = call.echo && call.requests.some(({ prompt }) => prompt.type === 'tokens');
      // The text of ids is in the first chunk, and only the loaded model has it.
      if (echoesIds) await hold.ready();
      const shape = await shapeOf(answer.signal);
      const events = mergeStreams(sources, PROMPT_CONCURRENCY, answer.signal);
      const chunks = textChunks(meta, events, call.requests.length, trace.usage(), shape);
      return streamAnswer(c, chunks, answer, parts);
    }
    const run = async (signal: AbortSignal, onStart: () => void): Promise<object> => {
      const collectors = call.requests.map(() => createCollector(call.choiceCount));
      for await (const [index, event] of mergeStreams(sources, PROMPT_CONCURRENCY, signal)) {
        onStart();
        collectors[index]?.add(event);
      }
      const collected = collectors.map((collector) => collector.result());
      return textCompletion(meta, collected, trace.usage(), await shapeOf(signal));
    };
    const places = Math.min(call.requests.length, PROMPT_CONCURRENCY) * call.choiceCount;
    return wholeAnswer(c, run, places, hold, parts);
  };
}

function echoesOf(
  requests: readonly CompletionRequest[],
  completer: Completer,
  signal: AbortSignal,
): Promise<EchoedPrompt[]> {
  return Promise.all(
    requests.map(async ({ prompt }) => {
      if (prompt.type === 'tokens') {
        return { text: await completer.detokenize(prompt.ids, signal), specialsShown: true };
      }
      return { text: prompt.type === 'text' ? prompt.text : '', specialsShown: false };
    }),
  );
}
