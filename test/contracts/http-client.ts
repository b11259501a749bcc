import { expect } from 'vitest';
import { HTTP_CONTRACT, type HttpTarget } from './http-target.ts';

export const CHAT = '/v1/chat/completions';
export const TEXT = '/v1/completions';
/** Never ends by itself, so that its length is known. */
export const ENDLESS = { ignore_eos: true, seed: 7 } as const;

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

export interface Choice {
  readonly index: number;
  readonly text?: string;
  readonly message?: { readonly role: string; readonly content: string };
  readonly delta?: { readonly role?: string; readonly content?: string };
  readonly finish_reason: string | null;
  readonly stop_reason?: string | number | null;
  readonly logprobs: {
    readonly content: readonly { readonly token: string; readonly logprob: number }[];
  } | null;
}

/** A whole answer, or one chunk of a stream. */
export interface Answer {
  readonly id: string;
  readonly object: string;
  readonly model: string;
  readonly choices: readonly Choice[];
  readonly usage?: Usage | null;
}

/** The body of an error. */
export interface Refusal {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
  };
}

export interface HttpClient {
  /** Sends with the key. */
  readonly get: (path: string, init?: RequestInit) => Promise<Response>;
  /** Posts JSON with the key, and with more headers if given. */
  readonly post: (path: string, body: unknown, init?: RequestInit) => Promise<Response>;
  /** Posts JSON and expects 200 with JSON. */
  readonly answer: <T = Answer>(path: string, body: unknown) => Promise<T>;
  /** Posts JSON and reads the whole stream. */
  readonly stream: (path: string, body: object) => Promise<readonly Answer[]>;
}

export function createHttpClient(send: HttpTarget['send']): HttpClient {
  const get: HttpClient['get'] = (path, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set('authorization', `Bearer ${HTTP_CONTRACT.apiKey}`);
    return send(path, { ...init, headers });
  };
  const post: HttpClient['post'] = (path, body, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set('content-type', 'application/json');
    return get(path, { ...init, method: 'POST', body: JSON.stringify(body), headers });
  };
  return {
    get,
    post,
    async answer<T>(path: string, body: unknown): Promise<T> {
      const response = await post(path, body);
      const text = await response.text();
      expect([response.status, text]).toEqual([200, expect.stringMatching(/^\{/)]);
      expect(response.headers.get('content-type')).toMatch(/^application\/json/);
      return JSON.parse(text) as T;
    },
    async stream(path, body) {
      const response = await post(path, { ...body, stream: true });
      expect(response.status).toBe(200);
      expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
      return framesOf(await response.text());
    },
  };
}

/** The JSON frames of a stream that must be whole. */
export function framesOf(text: string): readonly Answer[] {
  const frames = text
    .split('\n\n')
    .filter((frame) => frame.startsWith('data: '))
    .map((frame) => frame.slice('data: '.length));
  expect([frames.at(-1), text.endsWith('\n\n')]).toEqual(['[DONE]', true]);
  return frames.slice(0, -1).map((frame) => JSON.parse(frame) as Answer);
}

/** What one choice says, of a whole answer or of all chunks of a stream. */
export function textOf(answers: readonly Answer[], index = 0): string {
  return answers
    .flatMap(({ choices }) => choices.filter((choice) => choice.index === index))
    .map((choice) => choice.text ?? choice.message?.content ?? choice.delta?.content ?? '')
    .join('');
}

/** A refused request's status, code and param. */
export async function refusalOf(response: Response): Promise<readonly unknown[]> {
  const { error } = (await response.json()) as Refusal;
  expect(error.message).not.toBe('');
  return [response.status, error.code, error.param];
}

/** A body that is sent without a length, cut where it hurts. */
export function inPieces(text: string, pieceBytes: number): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      controller.enqueue(bytes.slice(at, at + pieceBytes));
      at += pieceBytes;
      if (at >= bytes.length) controller.close();
    },
  });
}
