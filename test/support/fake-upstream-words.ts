import { createByteTokenizer, FIRST_BYTE_ID } from './byte-tokenizer.ts';

/** What an answer depends on, whatever the server calls it. */
export interface SaidRequest {
  readonly promptLength: number;
  readonly seed: number;
  readonly maxTokens: number;
  readonly stop: readonly string[];
  readonly stopIds: readonly number[];
  readonly alternatives: number;
}

export interface SaidWord {
  readonly id: number;
  /** Bytes of the token as text, U+FFFD for parts of a character. */
  readonly token: string;
  readonly bytes: readonly number[];
  /** Whole characters that it sets free. */
  readonly free: string;
  readonly logprob: number;
  readonly top: readonly { readonly id: number; readonly logprob: number }[];
}

export interface Said {
  readonly promptTokens: number;
  readonly words: readonly SaidWord[];
  /** Up to the stop string, if one ended it. */
  readonly text: string;
  readonly reason: 'eos' | 'stop' | 'length';
  /** The stop string or id that ended it. */
  readonly matched: string | number | null;
}

const END_OF_TURN = 5;

const tokenizer = createByteTokenizer();

/** The reply and the seed, byte by byte, until what was asked for ends it. */
export function say(request: SaidRequest, reply: string): Said {
  const ids = [...tokenizer.encode(`${reply}${request.seed}`), END_OF_TURN];
  const decoder = new TextDecoder();
  const words: SaidWord[] = [];
  let text = '';
  const ended = (reason: Said['reason'], matched: Said['matched']): Said => ({
    promptTokens: request.promptLength,
    words,
    text: typeof matched === 'string' ? text.slice(0, text.indexOf(matched)) : text,
    reason,
    matched,
  });
  for (const id of ids) {
    const free = id < FIRST_BYTE_ID ? '' : decoder.decode(tokenizer.bytes(id), { stream: true });
    text += free;
    words.push(word(id, free, request.alternatives));
    const stop = request.stop.find((candidate) => text.includes(candidate));
    if (stop !== undefined) return ended('stop', stop);
    if (request.stopIds.includes(id)) {
      text = text.slice(0, text.length - free.length);
      return ended('stop', id);
    }
    if (id === END_OF_TURN) return ended('eos', id);
    if (words.length === request.maxTokens) return ended('length', null);
  }
  throw new RangeError('the end of turn was not reached');
}

export function spell(id: number): { readonly token: string; readonly bytes: readonly number[] } {
  const bytes = tokenizer.bytes(id);
  const token = id < FIRST_BYTE_ID ? tokenizer.spelling(id) : new TextDecoder().decode(bytes);
  return { token, bytes: Array.from(bytes) };
}

/** The likeliest are the token itself and its neighbours. */
function word(id: number, free: string, alternatives: number): SaidWord {
  const logprob = -(id % 7) / 8;
  const top = Array.from({ length: alternatives }, (_, rank) => ({
    id: id + rank,
    logprob: logprob - rank,
  }));
  return { id, ...spell(id), free, logprob, top };
}
