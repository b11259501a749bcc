export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: unknown;
}

export interface StreamedAnswer {
  readonly text: string;
  readonly finishReason: string;
  readonly ttftMs: number;
  readonly e2eMs: number;
  readonly completionTokens: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
}

/** An answer that came in one piece, with how sure the model was of each token. */
export interface DetailedAnswer {
  readonly text: string;
  readonly cachedTokens: number;
  readonly tokens: readonly {
    /** UTF-8; none for special tokens. */
    readonly bytes: readonly number[];
    /** Log probability of the most likely token over that of the next, in nats. */
    readonly lead: number;
  }[];
}

interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
}

interface Chunk {
  readonly choices?: readonly {
    readonly delta?: { readonly content?: string };
    readonly finish_reason?: string | null;
  }[];
  readonly usage?: Usage | null;
  readonly error?: unknown;
}

interface Answer {
  readonly choices: readonly {
    readonly message: { readonly content: string };
    readonly logprobs: {
      readonly content: readonly {
        readonly bytes: readonly number[];
        readonly top_logprobs: readonly { readonly logprob: number }[];
      }[];
    };
  }[];
  readonly usage: Usage;
}

type Options = Readonly<Record<string, unknown>>;

/** A request that takes longer than this has failed: a bench must end. */
const LONGEST_REQUEST_MS = 120_000;

/**
 * Streams one answer with plain fetch.
 * @throws Error unless the stream is whole: text, a finish reason, usage and the end mark
 */
export async function streamChat(
  url: string,
  messages: readonly ChatMessage[],
  options: Options,
): Promise<StreamedAnswer> {
  const startedMs = performance.now();
  const streaming = { stream: true, stream_options: { include_usage: true }, ...options };
  const response = await post(url, { messages, ...streaming });
  if (response.body === null) throw new Error('an answer without a body');
  let buffered = '';
  let text = '';
  let ttftMs: number | null = null;
  let finishReason: string | null = null;
  let usage: Usage | null = null;
  let isDone = false;
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    buffered += piece;
    const frames = buffered.split('\n\n');
    buffered = frames.pop() ?? '';
    for (const frame of frames) {
      if (frame === 'data: [DONE]') isDone = true;
      else if (frame.startsWith('data: ')) {
        const chunk = JSON.parse(frame.slice('data: '.length)) as Chunk;
        if (chunk.error !== undefined) throw new Error(JSON.stringify(chunk.error));
        const [choice] = chunk.choices ?? [];
        const content = choice?.delta?.content ?? '';
        if (content !== '') ttftMs ??= performance.now() - startedMs;
        text += content;
        finishReason = choice?.finish_reason ?? finishReason;
        usage = chunk.usage ?? usage;
      }
    }
  }
  if (finishReason === null || usage === null || !isDone) throw new Error('an unfinished answer');
  const e2eMs = performance.now() - startedMs;
  return {
    text,
    finishReason,
    // An answer of special tokens alone has no text.
    ttftMs: ttftMs ?? e2eMs,
    e2eMs,
    completionTokens: usage.completion_tokens,
    promptTokens: usage.prompt_tokens,
    cachedTokens: usage.prompt_tokens_details.cached_tokens,
  };
}

/** Asks without streaming, for the two likeliest tokens at each place as well. */
export async function askDetailed(
  url: string,
  messages: readonly ChatMessage[],
  options: Options,
): Promise<DetailedAnswer> {
  const response = await post(url, { messages, logprobs: true, top_logprobs: 2, ...options });
  const { choices, usage } = (await response.json()) as Answer;
  const [choice] = choices;
  if (choice === undefined) throw new Error('an answer without a choice');
  return {
    text: choice.message.content,
    cachedTokens: usage.prompt_tokens_details.cached_tokens,
    tokens: choice.logprobs.content.map(({ bytes, top_logprobs: [first, second] }) => ({
      bytes,
      lead: (first?.logprob ?? 0) - (second?.logprob ?? Number.NEGATIVE_INFINITY),
    })),
  };
}

async function post(url: string, body: unknown): Promise<Response> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(LONGEST_REQUEST_MS),
  });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return response;
}
