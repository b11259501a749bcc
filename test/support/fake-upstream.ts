import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { UpstreamKind } from '../../adapters/openai/call.ts';
import { llamaRefusal } from './fake-llama-checks.ts';
import { fakeFrames } from './fake-upstream-frames.ts';
import { say, type SaidRequest } from './fake-upstream-words.ts';
import { type LoopbackServer, startLoopbackServer } from './loopback-server.ts';

export type FakeKind = Exclude<UpstreamKind, 'gemlet'>;

export interface FakeUpstreamOptions {
  readonly kind: FakeKind;
  /** What every answer says, followed by its seed. */
  readonly reply?: string;
  readonly cachedTokens?: number;
  /** Answered to completions, first to last, before they work. */
  readonly failures?: readonly FakeFailure[];
  /** Health says this many times that the model loads. */
  readonly loadingCount?: number;
  /** The connection is cut after this many frames. */
  readonly cutAfter?: number;
  /** Sent in place of the frames, as they are. */
  readonly raw?: readonly string[];
  /** Nothing follows the frames: the answer stays open. */
  readonly hangs?: boolean;
  /** SGLang: frames tell what is new. */
  readonly isIncremental?: boolean;
  /** More that `/v1/models` says of the model. */
  readonly listed?: Readonly<Record<string, unknown>>;
  /** Routes that are not there. */
  readonly missing?: readonly string[];
}

export type FakeFailure =
  | { readonly status: number; readonly body: unknown; readonly headers?: Record<string, string> }
  | 'reset';

/** A server that talks like one of the known kinds, as their sources say, over bytes as tokens. */
export interface FakeUpstream extends LoopbackServer {
  readonly url: string;
  /** Completions asked for, with their bodies and credentials. */
  readonly asked: {
    readonly path: string;
    readonly body: Body;
    readonly key: string;
    readonly headers: IncomingMessage['headers'];
  }[];
  /** Answers whose connection closed before their end. */
  readonly leftCount: () => number;
}

type Body = Readonly<Record<string, unknown>>;

const ROUTES: ReadonlySet<string> = new Set([
  '/v1/completions',
  '/v1/chat/completions',
  '/generate',
  '/completion',
]);

export async function startFakeUpstream(options: FakeUpstreamOptions): Promise<FakeUpstream> {
  const asked: FakeUpstream['asked'] = [];
  const failures = [...(options.failures ?? [])];
  let loading = options.loadingCount ?? 0;
  let left = 0;

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '';
    if (path === '/health' && loading > 0) {
      loading--;
      const error = { code: 503, message: 'Loading model', type: 'unavailable_error' };
      return json(response, { error }, 503);
    }
    if (options.missing?.includes(path) === true) {
      return json(response, { detail: 'Not Found' }, 404);
    }
    const info = infoOf(options, path);
    if (info !== undefined) return json(response, info);
    if (!ROUTES.has(path)) return json(response, { detail: 'Not Found' }, 404);
    const body = JSON.parse(await bodyOf(request)) as Body;
    const { headers } = request;
    asked.push({ path, body, key: headers.authorization ?? '', headers });
    const failure = failures.shift();
    if (failure === 'reset') return void request.socket.destroy();
    if (failure !== undefined) {
      return json(response, failure.body, failure.status, failure.headers);
    }
    const refusal = options.kind === 'llama.cpp' ? llamaRefusal(path, body) : null;
    if (refusal !== null) {
      const error = { code: 400, message: refusal, type: 'invalid_request_error' };
      return json(response, { error }, 400);
    }
    const said = say(requestOf(body), options.reply ?? 'Hé');
    const frames = options.raw ?? fakeFrames(options, path, body, said);
    if (frames === null) return json(response, { detail: 'unreadable' }, 422);
    if (typeof frames === 'object' && !Array.isArray(frames)) return json(response, frames);
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
    response.flushHeaders();
    response.on('close', () => {
      if (!response.writableFinished) left++;
    });
    for (const [index, frame] of (frames as readonly string[]).entries()) {
      if (index === options.cutAfter) return void request.socket.destroy();
      response.write(frame);
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (options.hangs !== true) response.end();
  }

  const listener: RequestListener = (request, response) => void answer(request, response);
  const server = await startLoopbackServer(listener);
  return {
    ...server,
    url: `http://127.0.0.1:${server.port}`,
    asked,
    leftCount: () => left,
  };
}

function infoOf(
  { kind, isIncremental, listed }: FakeUpstreamOptions,
  path: string,
): object | undefined {
  const id = 'gemma';
  if (path === '/v1/models' && listed !== undefined) return { data: [{ id, ...listed }] };
  switch (`${kind} ${path}`) {
    case 'vllm /v1/models':
      return { data: [{ id, object: 'model', created: 7, owned_by: 'vllm', max_model_len: 512 }] };
    case 'sglang /v1/models':
      return { data: [{ id, created: 7, owned_by: 'sglang', max_model_len: 512 }] };
    case 'sglang /model_info':
    case 'sglang /get_model_info':
      return { model_path: id, is_generation: true, has_image_understanding: true };
    // The older name is the same route.
    case 'sglang /server_info':
    case 'sglang /get_server_info':
      return { incremental_streaming_output: isIncremental === true, context_length: 512 };
    case 'llama.cpp /v1/models':
      return {
        data: [{ id, created: 7, owned_by: 'llamacpp', meta: { n_vocab: 265, n_ctx: 512 } }],
      };
    case 'llama.cpp /props':
      return { default_generation_settings: { n_ctx: 512 }, modalities: { vision: true } };
    case 'tgi /v1/models':
      return { data: [{ id, created: 0, owned_by: id }] };
    case 'tgi /info':
      return { model_id: id, router: 'text-generation-router', max_total_tokens: 512 };
    case 'openai /v1/models':
      return { data: [{ id, created: 7, owned_by: 'someone' }] };
    default:
      return path === '/health' && kind !== 'openai' ? {} : undefined;
  }
}

/** Every kind's fields reduced to what an answer depends on. */
function requestOf(body: Body): SaidRequest {
  const params = (body['sampling_params'] ?? body) as Body;
  const prompt = body['input_ids'] ?? body['prompt'] ?? body['text'];
  const limit = params['max_tokens'] ?? params['max_new_tokens'] ?? params['n_predict'];
  const count = body['n_probs'] ?? body['top_logprobs_num'] ?? body['top_logprobs'];
  return {
    promptLength: Array.isArray(prompt) ? prompt.length : 11,
    seed: Number(params['seed'] ?? params['sampling_seed']),
    maxTokens: typeof limit === 'number' ? limit : 100,
    stop: (params['stop'] ?? []) as readonly string[],
    stopIds: (params['stop_token_ids'] ?? []) as readonly number[],
    alternatives: Number(count ?? (typeof body['logprobs'] === 'number' ? body['logprobs'] : 0)),
  };
}

function json(
  response: ServerResponse,
  body: unknown,
  status = 200,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of request) chunks.push(chunk as Uint8Array);
  return Buffer.concat(chunks).toString();
}
