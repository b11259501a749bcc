import type { CompletionEvent, TokenReport } from '../completer.ts';
import { type AnswerMeta, answerHead } from './answer-meta.ts';
import { unfinished, type Collected } from './collect.ts';
import { createLegacyLogprobs, type LegacyLogprobs } from './logprobs.ts';
import { type Usage, usageBody } from './usage.ts';

export interface EchoedPrompt {
  readonly text: string;
  /** Special tokens stand in `text`: so when the client sent ids, but not the `<bos>` we add. */
  readonly specialsShown: boolean;
}

/** What a text completion shows beside its text. */
export interface CompletionsShape {
  /** Completions per prompt. */
  readonly choiceCount: number;
  readonly logprobs: boolean;
  readonly tokenIds: boolean;
  /** Write tokens in log probabilities as `token_id:7`. */
  readonly tokensAsIds: boolean;
  /** What to put before the completions of each prompt; null without echo. */
  readonly echo: readonly EchoedPrompt[] | null;
  /** Streams only: end with a chunk that holds the usage. */
  readonly includeUsage: boolean;
}

/**
 * A whole `text_completion` object.
 * @param collected one entry per prompt
 */
export function textCompletion(
  meta: AnswerMeta,
  collected: readonly Collected[],
  usage: Usage,
  shape: CompletionsShape,
): object {
  const choices = collected.flatMap(({ prompt, choices: answers }, promptIndex) => {
    const echoed = shape.echo?.[promptIndex];
    return answers.map((answer, choiceIndex) => ({
      index: promptIndex * shape.choiceCount + choiceIndex,
      text: (echoed?.text ?? '') + answer.text,
      logprobs: shape.logprobs ? wholeLogprobs(echoed, prompt ?? [], answer.tokens, shape) : null,
      finish_reason: answer.reason,
      stop_reason: answer.stopReason,
      ...(shape.tokenIds ? { prompt_token_ids: ids(prompt), token_ids: ids(answer.tokens) } : {}),
    }));
  });
  return {
    ...answerHead(meta, 'text_completion'),
    choices,
    usage: usageBody(usage),
  };
}

/**
 * The chunks of a streamed text completion: with echo or token ids the prompt first, then text as
 * it comes, each choice's finish reason, and the usage if asked for.
 * @param events events with the index of their prompt
 * @param usage counts that grow while `events` pass; read at the end
 */
export async function* textChunks(
  meta: AnswerMeta,
  events: AsyncIterable<readonly [promptIndex: number, event: CompletionEvent]>,
  promptCount: number,
  usage: Usage,
  shape: CompletionsShape,
): AsyncGenerator<object, void, undefined> {
  const head = answerHead(meta, 'text_completion');
  const tail = shape.includeUsage ? { usage: null } : {};
  let unfinishedCount = promptCount * shape.choiceCount;
  const writers = Array.from({ length: unfinishedCount }, () =>
    createLegacyLogprobs(shape.tokensAsIds),
  );
  const logprobs = (
    index: number,
    tokens: readonly TokenReport[],
    specialsShown = false,
  ): LegacyLogprobs | null =>
    shape.logprobs && tokens.length > 0
      ? (writers[index]?.write(tokens, specialsShown) ?? null)
      : null;

  for await (const [promptIndex, event] of events) {
    const first = promptIndex * shape.choiceCount;
    switch (event.type) {
      case 'start': {
        if (shape.echo === null && !shape.tokenIds) break;
        const echoed = shape.echo?.[promptIndex];
        const tokens = echoed === undefined ? [] : (event.prompt ?? []);
        for (let index = first; index < first + shape.choiceCount; index++) {
          const choice = {
            index,
            text: echoed?.text ?? '',
            logprobs: logprobs(index, tokens, echoed?.specialsShown),
            finish_reason: null,
            ...(shape.tokenIds ? { prompt_token_ids: ids(event.prompt), token_ids: [] } : {}),
          };
          yield { ...head, choices: [choice], ...tail };
        }
        break;
      }
      case 'delta': {
        const { text, tokens } = event;
        const showsTokens = (shape.logprobs || shape.tokenIds) && tokens.length > 0;
        if (text === '' && !showsTokens) break;
        const index = first + event.index;
        const choice = {
          index,
          text,
          logprobs: logprobs(index, tokens),
          finish_reason: null,
          ...(shape.tokenIds ? { token_ids: ids(tokens) } : {}),
        };
        yield { ...head, choices: [choice], ...tail };
        break;
      }
      case 'finish': {
        unfinishedCount--;
        const choice = {
          index: first + event.index,
          text: '',
          logprobs: null,
          finish_reason: event.reason,
          stop_reason: event.stopReason,
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

function wholeLogprobs(
  echoed: EchoedPrompt | undefined,
  prompt: readonly TokenReport[],
  answer: readonly TokenReport[],
  { tokensAsIds }: CompletionsShape,
): LegacyLogprobs {
  const writer = createLegacyLogprobs(tokensAsIds);
  if (echoed === undefined) return writer.write(answer);
  const first = writer.write(prompt, echoed.specialsShown);
  const second = writer.write(answer);
  return {
    tokens: [...first.tokens, ...second.tokens],
    token_logprobs: [...first.token_logprobs, ...second.token_logprobs],
    top_logprobs: [...first.top_logprobs, ...second.top_logprobs],
    text_offset: [...first.text_offset, ...second.text_offset],
  };
}

function ids(tokens: readonly TokenReport[] | null): readonly number[] {
  return (tokens ?? []).map((token) => token.id);
}
