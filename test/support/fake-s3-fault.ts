import type { ServerResponse } from 'node:http';
import { xmlError } from './fake-s3-answer.ts';
import type { FakeAnswer } from './fake-s3-answer.ts';
import type { Pacer } from './pacer.ts';

/** What goes wrong with one answer. Bytes count from the beginning of its body. */
export type Fault =
  /** An error of the server, with a wish when to come back. */
  | {
      readonly type: 'error';
      readonly status: number;
      readonly code: string;
      readonly retryAfter?: string;
    }
  /** The connection closes in the middle. */
  | { readonly type: 'truncate'; readonly afterBytes: number }
  /** The connection is reset in the middle. */
  | { readonly type: 'reset'; readonly afterBytes: number }
  /** Nothing comes any more, and the connection stays. */
  | { readonly type: 'stall'; readonly afterBytes: number }
  /** No answer at all. */
  | { readonly type: 'silence' }
  /** The request is done, but its answer is lost. */
  | { readonly type: 'lost-answer' }
  /** Headers that are not true. */
  | { readonly type: 'headers'; readonly headers: Readonly<Record<string, string | number>> }
  /** A whole answer that is no S3's. */
  | { readonly type: 'answer'; readonly answer: FakeAnswer }
  /** One bit of the body is another. */
  | { readonly type: 'flip-bit'; readonly atByte: number };

/** A piece on the line: small against what one shares with others, large against a call's cost. */
const PIECE_BYTES = 256 * 1024;

/** Sends an answer with what the fault does to it. */
export async function sendAnswer(
  response: ServerResponse,
  plain: FakeAnswer,
  fault: Fault | undefined,
  isHead: boolean,
  pacer: Pacer,
): Promise<void> {
  if (fault?.type === 'silence') return;
  if (fault?.type === 'lost-answer') {
    response.destroy();
    return;
  }
  const answer = spoilt(plain, fault);
  response.writeHead(answer.status, { ...answer.headers });
  if (isHead) {
    response.end();
    return;
  }
  const { body } = answer;
  const stop = fault !== undefined && 'afterBytes' in fault ? fault.afterBytes : body.length;
  if (stop === 0) response.flushHeaders();
  for (let at = 0; at < stop; at += PIECE_BYTES) {
    const piece = body.subarray(at, Math.min(at + PIECE_BYTES, stop));
    await pacer.take(piece.length);
    if (response.destroyed) return;
    if (!response.write(piece)) await drained(response);
  }
  switch (fault?.type) {
    case 'stall':
      return;
    case 'truncate':
      response.socket?.end();
      return;
    case 'reset':
      response.socket?.resetAndDestroy();
      return;
    default:
      response.end();
      // What was announced and does not come would otherwise be waited for.
      if (fault?.type === 'headers') response.socket?.end();
  }
}

/** Resolves when there is room for more, or nobody to send it to. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.on('drain', done).on('close', done);
  });
}

function spoilt(answer: FakeAnswer, fault: Fault | undefined): FakeAnswer {
  switch (fault?.type) {
    case 'error': {
      const wish = fault.retryAfter === undefined ? {} : { 'retry-after': fault.retryAfter };
      const { status, code } = fault;
      return xmlError({ status, code, message: 'Please reduce your request rate.' }, wish);
    }
    case 'headers':
      return { ...answer, headers: { ...answer.headers, ...fault.headers } };
    case 'answer':
      return fault.answer;
    case 'flip-bit': {
      const body = answer.body.slice();
      body[fault.atByte] = (body[fault.atByte] ?? 0) ^ 16;
      return { ...answer, body };
    }
    default:
      return answer;
  }
}
