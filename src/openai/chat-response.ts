import type { CompletionEvent } from '../completer.ts';
import { unfinished, type Collected } from './collect.ts';
import { chatLogprobs } from './logprobs.ts';
import { type AnswerMeta, answerHead } from './answer-meta.ts';
import { type Usage, usageBody } from './usage.ts';

/** What a chat answer shows beside its text. */
export interface ChatShape {
  readonly choiceCount: number;
  readonly logprobs: boolean;
  readonly tokenIds: boolean;
  /** Write tokens in log probabilities as `token_id:7`. */
  readonly tokensAsIds: boolean;
  /** Streams only: end with a chunk that holds the usage. */
  readonly includeUsage: boolean;
}

/** A whole `chat.completion` object. */
export function chatCompletion(
  meta: AnswerMeta,
  collected: Collected,
  usage: Usage,
  shape: ChatShape,
): object {
  return {
    ...answerHead(meta, 'chat.completion'),
    choices: collected.choices.map((choice, index) => ({
      index,
      message: { role: 'assistant', content: choice.text, refusal: null },
      logprobs: shape.logprobs ? chatLogprobs(choice.tokens, shape.tokensAsIds) : null,
      finish_reason: choice.reason,
      stop_reason: choice.stopReason,
      ...(shape.tokenIds ? { token_ids: choice.tokens.map((token) => token.id) } : {}),
    })),
    usage: usageBody(usage),
    ...(shape.tokenIds ? { prompt_token_ids: (collected.prompt ?? []).map(({ id }) => id) } : {}),
  };
}

/**
 * The `chat.completion.chunk` objects of a stream: the role first, then text as it comes, each
 * choice's finish reason, and the usage if asked for.
 * @param usage counts that grow while `events` pass; read at the end
 */
export async function* chatChunks(
  meta: AnswerMeta,
  events: AsyncIterable<CompletionEvent>,
  usage: Usage,
  shape: ChatShape,
): AsyncGenerator<object, void, undefined> {
  const head = answerHead(meta, 'chat.completion.chunk');
  const tail = shape.includeUsage ? { usage: null } : {};
  let unfinishedCount = shape.choiceCount;
  for await (const event of events) {
    switch (event.type) {
      case 'start': {
        const ids = (event.prompt ?? []).map(({ id }) => id);
        for (let index = 0; index < shape.choiceCount; index++) {
          const delta = { role: 'assistant', content: '', refusal: null };
          const choices = [{ index, delta, logprobs: null, finish_reason: null }];
          const extra = shape.tokenIds && index === 0 ? { prompt_token_ids: ids } : {};
          yield { ...head, choices, ...extra, ...tail };
        }
        break;
      }
      case 'delta': {
        const { index, text, tokens } = event;
        const showsTokens = (shape.logprobs || shape.tokenIds) && tokens.length > 0;
        if (text === '' && !showsTokens) break;
        const choice = {
          index,
          delta: { content: text },
          logprobs:
            shape.logprobs && tokens.length > 0 ? chatLogprobs(tokens, shape.tokensAsIds) : null,
          finish_reason: null,
          ...(shape.tokenIds ? { token_ids: tokens.map((token) => token.id) } : {}),
        };
        yield { ...head, choices: [choice], ...tail };
        break;
      }
      case 'finish': {
        unfinishedCount--;
        const { index, reason, stopReason } = event;
        const choice = {
          index,
          delta: {},
          logprobs: null,
          finish_reason: reason,
          stop_reason: stopReason,
        };
        yield { ...head, choices: [choice], ...tail };
        break;
      }
      default:
        event satisfies never;
    }
  }
  if (unfinishedCount > 0) throw unfinished();
  if (shape.includeUsage) yield { ...head, choices: [], usage: usageBody(usage) };
}
