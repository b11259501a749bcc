import { ServeError } from '../errors.ts';
import { checkByteLength, type ImageLimits } from './sniff.ts';

/** Longest `data:<media type>;base64,` in front of the data; longer ones are no media type. */
const MAX_HEAD_CHARACTERS = 1024;
const PADDING = 0x3d;
/** Value of each ASCII character in base64 (RFC 4648, section 4); 255 where it has none. */
const VALUES: Uint8Array = base64Values();

/** Whether `url` is a data URI, in any case. */
export function isDataUri(url: string): boolean {
  return /^\s*data:/i.test(url.slice(0, 64));
}

/**
 * Decodes a `data:` URI, base64 or percent-encoded. The media type is ignored: what counts is what
 * the bytes are. Padding may be missing; anything else that is not base64 is refused by position.
 * @throws ServeError invalid_url (not a data URI, or badly encoded), image_too_large (known from
 *   the length, before decoding)
 */
export function parseDataUri(uri: string, limits: Pick<ImageLimits, 'maxBytes'>): Uint8Array {
  const start = uri.search(/\S/);
  const comma = uri.indexOf(',');
  if (!isDataUri(uri) || comma === -1 || comma - start > MAX_HEAD_CHARACTERS) {
    throw invalidUrl('The data URI has no comma after its media type: data:image/png;base64,...');
  }
  const isBase64 = /;\s*base64\s*$/i.test(uri.slice(start, comma));
  // White space at the very end comes from careless copying and means nothing.
  const end = uri.trimEnd().length;
  if (!isBase64) return percentDecode(uri, comma + 1, end, limits);
  const body = uri.slice(comma + 1, end);
  checkByteLength(Math.floor((body.length * 3) / 4) - 2, limits);
  // Base64 has no %, so an escape can only stand for one of its characters.
  return body.includes('%')
    ? decodeBase64(
        new TextDecoder().decode(
          percentDecode(body, 0, body.length, {
            maxBytes: body.length,
          }),
        ),
      )
    : decodeBase64(body);
}

/**
 * Decodes standard base64 with or without padding.
 * @throws ServeError invalid_url, naming the position of the first wrong character
 */
export function decodeBase64(text: string): Uint8Array {
  let length = text.length;
  for (let dropped = 0; dropped < 2 && text.charCodeAt(length - 1) === PADDING; dropped += 1) {
    length -= 1;
  }
  const bytes = new Uint8Array(Math.floor((length * 3) / 4));
  let at = 0;
  let bits = 0;
  let pending = 0;
  for (let index = 0; index < length; index += 1) {
    const code = text.charCodeAt(index);
    const value = code < 128 ? (VALUES[code] as number) : 255;
    if (value === 255) throw wrongCharacter(text, index);
    pending = ((pending << 6) | value) & 0xffff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes[at] = (pending >> bits) & 0xff;
      at += 1;
    }
  }
  if (length % 4 === 1 || (length < text.length && text.length % 4 !== 0)) {
    throw invalidUrl(
      `The base64 data of the image ends in the middle, after ${text.length} characters: some of it was lost on the way.`,
    );
  }
  return bytes;
}

function wrongCharacter(text: string, index: number): ServeError {
  const character = text.charAt(index);
  const name = JSON.stringify(character);
  const where = `The base64 data of the image has ${name} at position ${index}`;
  if (character === '-' || character === '_') {
    return invalidUrl(
      `${where}: that is the URL-safe alphabet, use the standard one with + and /.`,
    );
  }
  if (/\s/.test(character)) return invalidUrl(`${where}: send it without line breaks or spaces.`);
  return invalidUrl(`${where}, which is not a base64 character.`);
}

function percentDecode(
  text: string,
  from: number,
  to: number,
  limits: Pick<ImageLimits, 'maxBytes'>,
): Uint8Array {
  // Each byte takes one character or three.
  checkByteLength(Math.ceil((to - from) / 3), limits);
  const bytes = new Uint8Array(to - from);
  let length = 0;
  for (let index = from; index < to; index += 1) {
    let code = text.charCodeAt(index);
    if (code === 0x25) {
      const digits = text.slice(index + 1, index + 3);
      if (!/^[0-9a-f]{2}$/i.test(digits)) {
        throw invalidUrl(`The data URI has a % without two hex digits at position ${index}.`);
      }
      code = Number.parseInt(digits, 16);
      index += 2;
    } else if (code > 0x7e || code < 0x21) {
      throw invalidUrl(
        `The data URI has ${JSON.stringify(text.charAt(index))} at position ${index}: encode the image as base64.`,
      );
    }
    bytes[length] = code;
    length += 1;
  }
  checkByteLength(length, limits);
  return bytes.slice(0, length);
}

function base64Values(): Uint8Array {
  const values = new Uint8Array(128).fill(255);
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  for (let value = 0; value < 64; value += 1) values[alphabet.charCodeAt(value)] = value;
  return values;
}

function invalidUrl(message: string): ServeError {
  return new ServeError('invalid_url', message);
}
