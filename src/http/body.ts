import type { Context } from 'hono';
import { ServeError } from '../errors.ts';
import { boundedChunks } from '../lib/bounded-body.ts';
import { createJsonScan } from '../limits/json-scan.ts';
import type { RequestLimits } from '../openai/request-context.ts';
import { type AppEnv, tenantOf } from './app-env.ts';

/** Names and notes of a session, each character escaped. */
const MAX_SMALL_BYTES = 128 * 1024;
/** What a parsed value takes beside its text, about. */
const VALUE_BYTES = 64;

/**
 * Reads a JSON request body within limits.
 * @throws ServeError unsupported_media_type, body_too_large, invalid_request, overloaded
 */
export async function readJson(c: Context<AppEnv>, limits: RequestLimits): Promise<unknown> {
  checkContentType(c.req.raw);
  return parseJson(await readText(c, limits));
}

/**
 * The same where fields are few and short, and all optional: an empty body is an empty object.
 * @throws ServeError unsupported_media_type, body_too_large, invalid_request, overloaded
 */
export async function readSmallJson(c: Context<AppEnv>, limits: RequestLimits): Promise<unknown> {
  checkContentType(c.req.raw);
  const maxBodyBytes = Math.min(limits.maxBodyBytes, MAX_SMALL_BYTES);
  const text = await readText(c, { ...limits, maxBodyBytes });
  return text === '' ? {} : parseJson(text);
}

function parseJson(text: string): unknown {
  if (text.trim() === '') {
    throw new ServeError('invalid_request', 'The request body is empty; send a JSON object.');
  }
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

/**
 * Decodes and counts as the bytes come, so that a body that is refused is given up at once, and one that is
 * taken never holds up other requests by one long pass.
 */
async function readText(c: Context<AppEnv>, limits: RequestLimits): Promise<string> {
  const { maxBodyBytes } = limits;
  const request = c.req.raw;
  const lease = c.get('body');
  const tenant = tenantOf(c);
  const declared = Number(request.headers.get('content-length') ?? '0');
  if (declared > maxBodyBytes) throw tooLarge(maxBodyBytes);
  const scan = createJsonScan(limits);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const texts: string[] = [];
  try {
    for await (const chunk of boundedChunks(request.body, maxBodyBytes)) {
      lease.add(chunk.length, tenant);
      scan.push(chunk);
      texts.push(decode(decoder, chunk));
    }
  } catch (error) {
    throw error instanceof RangeError ? tooLarge(maxBodyBytes) : error;
  }
  lease.add(scan.valueCount * VALUE_BYTES, tenant);
  texts.push(decode(decoder));
  return texts.join('');
}

/** @param chunk left out: there are no more */
function decode(decoder: TextDecoder, chunk?: Uint8Array): string {
  try {
    return decoder.decode(chunk, { stream: chunk !== undefined });
  } catch {
    throw new ServeError('invalid_request', 'The request body is not valid UTF-8.');
  }
}

function tooLarge(maxBodyBytes: number): ServeError {
  return new ServeError(
    'body_too_large',
    `The request body is larger than ${maxBodyBytes} bytes.`,
    {
      bound: 'maxBodyBytes',
    },
  );
}
