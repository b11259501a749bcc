import { ServeError } from '../errors.ts';
import type { RequestLimits } from '../openai/request-context.ts';

/**
 * Reads a JSON request body within limits.
 * @throws ServeError unsupported_media_type, body_too_large, invalid_request
 */
export async function readJson(request: Request, limits: RequestLimits): Promise<unknown> {
  checkContentType(request);
  return parseJson(await readBytes(request, limits.maxBodyBytes), limits);
}

/**
 * The same where all fields are optional: an empty body is an empty object.
 * @throws ServeError unsupported_media_type, body_too_large, invalid_request
 */
export async function readOptionalJson(request: Request, limits: RequestLimits): Promise<unknown> {
  checkContentType(request);
  const bytes = await readBytes(request, limits.maxBodyBytes);
  return bytes.length === 0 ? {} : parseJson(bytes, limits);
}

function parseJson(bytes: Uint8Array, limits: RequestLimits): unknown {
  const text = decodeUtf8(bytes);
  if (text.trim() === '') {
    throw new ServeError('invalid_request', 'The request body is empty; send a JSON object.');
  }
  checkDepth(text, limits.maxJsonDepth);
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // The parser's message quotes the body, which may hold a prompt: neither shown nor kept.
    throw new ServeError('invalid_request', 'The request body is not valid JSON.');
  }
}

/**
 * A missing type passes from programs. From web pages only JSON does, because it makes browsers
 * ask first: else any page could make a local server work.
 */
function checkContentType(request: Request): void {
  const { headers } = request;
  const encoding = headers.get('content-encoding');
  if (encoding !== null && encoding.toLowerCase() !== 'identity') {
    throw new ServeError(
      'unsupported_media_type',
      'Compressed request bodies are not read; send the JSON without content-encoding.',
    );
  }
  const type = headers.get('content-type');
  if (type === null && !headers.has('origin')) return;
  const essence = (type ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
  if (essence === 'application/json' || essence === 'text/json' || essence.endsWith('+json'))
    return;
  throw new ServeError(
    'unsupported_media_type',
    'The request body must be JSON; send the header content-type: application/json.',
  );
}

async function readBytes(request: Request, maxBytes: number): Promise<Uint8Array> {
  const tooLarge = (): ServeError =>
    new ServeError('body_too_large', `The request body is larger than ${maxBytes} bytes.`);
  const declared = Number(request.headers.get('content-length') ?? '0');
  if (declared > maxBytes) throw tooLarge();
  if (request.body === null) return new Uint8Array(0);
  const reader = request.body.getReader();
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    sizeBytes += value.byteLength;
    if (sizeBytes > maxBytes) {
      // Not awaited: a client that goes on sending must not keep the answer waiting.
      void reader.cancel().catch(() => undefined);
      throw tooLarge();
    }
    chunks.push(value);
  }
  const only = chunks[0];
  if (chunks.length === 1 && only !== undefined) return only;
  const bytes = new Uint8Array(sizeBytes);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.byteLength;
  }
  return bytes;
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new ServeError('invalid_request', 'The request body is not valid UTF-8.');
  }
}

/**
 * Counts brackets before parsing: some parsers recurse. Strings, which are most of a body with
 * images, are skipped with indexOf.
 */
function checkDepth(text: string, maxDepth: number): void {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x22: // "
        at = endOfString(text, at);
        break;
      case 0x5b: // [
      case 0x7b: // {
        if (++depth > maxDepth) {
          throw new ServeError(
            'invalid_request',
            `The request body is nested deeper than ${maxDepth} levels.`,
          );
        }
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth--;
        break;
      default:
    }
  }
}

/** Index of the quote that closes the string opened at `open`; the text's length if none does. */
function endOfString(text: string, open: number): number {
  let at = open;
  for (;;) {
    at = text.indexOf('"', at + 1);
    if (at < 0) return text.length;
    let backslashes = 0;
    while (text.charCodeAt(at - 1 - backslashes) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return at;
  }
}
