import type { BoundName } from '../bounds.ts';
import { ServeError } from '../errors.ts';

/** What a JSON text may hold, so that parsing it takes neither much memory nor long. */
export interface JsonLimits {
  /** Nested arrays and objects. */
  readonly maxJsonDepth: number;
  /** Values of all kinds, arrays and objects among them. */
  readonly maxJsonValues: number;
  /** Strings, keys among them: each is looked up or kept by itself, which numbers are not. */
  readonly maxJsonStrings: number;
  /** Bytes beside strings that are `data:` URLs. */
  readonly maxTextBytes: number;
}

/** Reads a JSON text as it comes, before it is parsed. */
export interface JsonScan {
  /**
   * Takes the next bytes of the text, in UTF-8.
   * @throws ServeError invalid_request, body_too_large as soon as a limit is passed
   */
  push(chunk: Uint8Array): void;
  /** Values so far. */
  readonly valueCount: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const PICTURE = Uint8Array.from('data:', (character) => character.charCodeAt(0));
/** Makes ASCII letters small. */
const SMALL = 0x20;

/**
 * Counts what parsing would have to make. It does not check the grammar: the parser refuses what is no
 * JSON at the first wrong byte, and up to there the counts are right.
 */
export function createJsonScan(limits: JsonLimits): JsonScan {
  const { maxJsonDepth, maxJsonValues, maxJsonStrings, maxTextBytes } = limits;
  let depth = 0;
  let values = 1;
  let strings = 0;
  let totalBytes = 0;
  /** Of `data:` URLs that have ended. */
  let pictureBytes = 0;
  let isInString = false;
  /** Of the string that has not ended. */
  let stringBytes = 0;
  /** Bytes of `PICTURE` that it began with; -1 once it differs. */
  let matched = 0;
  /** Backslashes before the place where it goes on. */
  let backslashes = 0;

  /** Goes on in a string. @returns the index behind its closing quote, or the chunk's length */
  function skipString(chunk: Uint8Array, start: number): number {
    let at = start;
    while (matched >= 0 && matched < PICTURE.length && at < chunk.length) {
      if (((chunk[at] ?? 0) | SMALL) !== PICTURE[matched]) matched = -1;
      else {
        matched++;
        at++;
      }
    }
    for (;;) {
      const quote = chunk.indexOf(QUOTE, at);
      const end = quote < 0 ? chunk.length : quote;
      let run = 0;
      while (run < end - at && chunk[end - 1 - run] === BACKSLASH) run++;
      backslashes = run === end - at ? backslashes + run : run;
      if (quote < 0) {
        stringBytes += end - start;
        return end;
      }
      at = end + 1;
      if (backslashes % 2 === 0) {
        if (matched === PICTURE.length) pictureBytes += stringBytes + end - start;
        isInString = false;
        return at;
      }
      // A URL has no quotes: this is text that begins like one.
      matched = -1;
      backslashes = 0;
    }
  }

  function openString(): void {
    if (++strings > maxJsonStrings) {
      throw refuse('maxJsonStrings', `has more than ${maxJsonStrings} strings, keys among them`);
    }
    isInString = true;
    stringBytes = matched = backslashes = 0;
  }

  function addValue(): void {
    if (++values > maxJsonValues) {
      throw refuse('maxJsonValues', `has more than ${maxJsonValues} values`);
    }
  }

  return {
    get valueCount() {
      return values;
    },
    push(chunk) {
      let at = isInString ? skipString(chunk, 0) : 0;
      while (at < chunk.length) {
        switch (chunk[at++]) {
          case QUOTE:
            openString();
            at = skipString(chunk, at);
            break;
          case 0x5b: // [
          case 0x7b: // {
            addValue();
            if (++depth > maxJsonDepth) {
              throw refuse('maxJsonDepth', `is nested deeper than ${maxJsonDepth} levels`);
            }
            break;
          case 0x5d: // ]
          case 0x7d: // }
            depth--;
            break;
          case 0x2c: // ,
            addValue();
            break;
          default:
        }
      }
      totalBytes += chunk.length;
      const openBytes = isInString && matched === PICTURE.length ? stringBytes : 0;
      if (totalBytes - pictureBytes - openBytes > maxTextBytes) {
        throw new ServeError(
          'body_too_large',
          `The request body has more than ${maxTextBytes} bytes beside pictures sent as data: URLs. Send less text, or several requests.`,
          { bound: 'maxTextBytes' },
        );
      }
    },
  };
}

function refuse(bound: BoundName, what: string): ServeError {
  return new ServeError('invalid_request', `The request body ${what}. Send several requests.`, {
    bound,
  });
}
