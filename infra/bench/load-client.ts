export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: unknown;
}

export interface StreamedAnswer {
  readonly text: string;
  readonly ttftMs: number;
  readonly e2eMs: number;
  readonly completionTokens: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
}

interface Chunk {
  readonly choices?: readonly {
    readonly delta?: { readonly content?: string };
    readonly finish_reason?: string | null;
  }[];
  readonly usage?: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly prompt_tokens_details: { readonly cached_tokens: number };
  } | null;
  readonly error?: unknown;
}

/** Streams one answer with plain fetch and checks that it is whole. */
export async function streamChat(
  url: string,
  messages: readonly ChatMessage[],
  options: Readonly<Record<string, unknown>>,
  signal?: AbortSignal,
): Promise<StreamedAnswer> {
  const startedMs = performance.now();
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      messages,
      stream: true,
      stream_options: { include_usage: true },
      ...options,
    }),
    ...(signal === undefined ? {} : { signal }),
  });
  if (!response.ok || response.body === null) {
    throw new Error(`${response.status}: ${await response.text()}`);
  }
  let buffered = '';
  let text = '';
  let ttftMs = 0;
  let finish: string | null = null;
  let usage: Chunk['usage'] = null;
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    buffered += piece;
    const frames = buffered.split('\n\n');
    buffered = frames.pop() ?? '';
    for (const frame of frames) {
      if (!frame.startsWith('data: ') || frame === 'data: [DONE]') continue;
      const chunk = JSON.parse(frame.slice(6)) as Chunk;
      if (chunk.error !== undefined) throw new Error(JSON.stringify(chunk.error));
      const [choice] = chunk.choices ?? [];
      const content = choice?.delta?.content ?? '';
      if (content !== '' && ttftMs === 0) ttftMs = performance.now() - startedMs;
      text += content;
      finish = choice?.finish_reason ?? finish;
      usage = chunk.usage ?? usage;
    }
  }
  if (finish === null || usage === null || usage === undefined)
    throw new Error('an unfinished answer');
  return {
    text,
    ttftMs,
    e2eMs: performance.now() - startedMs,
    completionTokens: usage.completion_tokens,
    promptTokens: usage.prompt_tokens,
    cachedTokens: usage.prompt_tokens_details.cached_tokens,
  };
}
