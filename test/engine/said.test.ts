import { describe, expect, it } from 'vitest';
import type {
  PreparedImage,
  PreparedPrompt,
  TokenBytes,
  TokenSpan,
} from '../../src/engine/engine.ts';
import { createSaidMemory, TEXT_COST_TOKENS, type SaidMemory } from '../../src/engine/said.ts';
import { testImage } from '../support/engine-harness.ts';
import { createSeededRandom } from '../support/seeded-random.ts';

/** A token of words: its text, or its bytes. Id 0 is special. */
const WORDS = ['', 'a', 'b', 'ab', 'ba', ' ', '\n', ' a', 'a ', 'abab', [0xc3], [0xa9], '\u00a0b'];
const encoder = new TextEncoder();
const bytesById = WORDS.map((word) =>
  typeof word === 'string' ? encoder.encode(word) : Uint8Array.from(word),
);
const NO_BYTES = new Uint8Array(0);
const tokens: TokenBytes = {
  vocabSize: WORDS.length,
  bytes: (id) => bytesById[id] ?? NO_BYTES,
  suppressed: [],
};
const TOKENS_PER_IMAGE = 2;

function memory(maxTokens = 10_000): SaidMemory {
  return createSaidMemory({ maxTokens, tokens, tokensPerImage: TOKENS_PER_IMAGE });
}

function ids(...spellings: string[]): number[] {
  return spellings.map((spelling) => {
    const id = WORDS.indexOf(spelling);
    if (id < 0) throw new RangeError(`no token is spelled ${JSON.stringify(spelling)}`);
    return id;
  });
}

/** Ids and spans of `[ids]`: what stands in an inner list is the assistant's. */
function prompt(
  parts: readonly (number | readonly number[])[],
  rest: Partial<PreparedPrompt> = {},
): PreparedPrompt {
  const all: number[] = [];
  const assistantSpans: TokenSpan[] = [];
  for (const part of parts) {
    const start = all.length;
    if (typeof part === 'number') all.push(part);
    else {
      all.push(...part);
      assistantSpans.push({ start, end: all.length });
    }
  }
  return { tokens: Int32Array.from(all), images: [], assistantSpans, scope: '', ...rest };
}

function byteCount(said: readonly number[]): number {
  return said.reduce((sum, id) => sum + tokens.bytes(id).length, 0);
}

/** An image by its hash alone. */
function image(number: number): PreparedImage {
  return { rgb: NO_BYTES, sha256: testImage(number).sha256 };
}

/** A prompt with an image, then `rest`. */
function withImage(number: number, ...rest: (number | number[])[]): PreparedPrompt {
  return prompt([0, 0, 0, 1, ...rest], { images: [{ position: 1, image: image(number) }] });
}

/** Says `said` after `before` and gives the ids that come back for `again` in the next turn. */
function roundTrip(
  said: readonly number[],
  again: readonly number[],
  textBytes?: number,
): number[] {
  const kept = memory();
  kept.remember(prompt([0, 1, 0]), said, textBytes ?? byteCount(said));
  const next = kept.resolve(prompt([0, 1, 0, again, 0]));
  return Array.from(next.tokens.subarray(3, -1));
}

describe('what is said', () => {
  it('comes back as its own ids', () => {
    const said = ids('a', 'ba', 'b');
    expect(roundTrip(said, ids('abab'))).toEqual(said);
  });

  it('is left as it is where no such text was said', () => {
    const kept = memory();
    const asked = prompt([0, 1, 0, ids('abab'), 0]);
    expect(kept.resolve(asked)).toBe(asked);
    kept.remember(prompt([0, 1, 0]), ids('a', 'b'), 2);
    expect(kept.resolve(asked)).toBe(asked);
    const plain = prompt([0, 1, 0]);
    expect(kept.resolve(plain)).toBe(plain);
  });

  it('gives the same prompt back when the ids are the same', () => {
    const kept = memory();
    kept.remember(prompt([0, 1, 0]), ids('a', 'b'), 2);
    const asked = prompt([0, 1, 0, ids('a', 'b'), 0]);
    expect(kept.resolve(asked)).toBe(asked);
  });

  it('belongs to its prompt', () => {
    const kept = memory();
    kept.remember(prompt([0, 1, 0]), ids('a', 'b'), 2);
    for (const before of [[0, 2, 0], [0, 0], [0, 1, 1, 0], [1, 0], []]) {
      const asked = prompt([...before, ids('ab'), 0]);
      expect(kept.resolve(asked)).toBe(asked);
    }
    expect(kept.resolve(prompt([0, 1, 0, ids('ab')])).tokens).toEqual(Int32Array.of(0, 1, 0, 1, 2));
  });

  it('belongs to its scope', () => {
    const kept = memory();
    kept.remember(prompt([0, 1, 0], { scope: 'one' }), ids('a', 'b'), 2);
    for (const scope of ['', 'two', 'one\0', 'one\0salt', 'on', 'ONE']) {
      const asked = prompt([0, 1, 0, ids('ab'), 0], { scope });
      expect(kept.resolve(asked)).toBe(asked);
    }
    const own = prompt([0, 1, 0, ids('ab'), 0], { scope: 'one' });
    expect(kept.resolve(own).tokens).toHaveLength(6);
  });

  it('belongs to the images before it', () => {
    const kept = memory();
    kept.remember(withImage(1), ids('a', 'b'), 2);
    const other = withImage(2, ids('ab'), 0);
    expect(kept.resolve(other)).toBe(other);
    expect(kept.resolve(withImage(1, ids('ab'), 0)).tokens).toHaveLength(7);
  });

  it('moves later images and spans along', () => {
    const kept = memory();
    kept.remember(prompt([0]), ids('a', 'b', 'a', 'b'), 4);
    const images = [{ position: 3, image: image(1) }];
    const asked = prompt([0, ids('abab'), 0, 0, 0, 1, ids('b'), 0], { images });
    const resolved = kept.resolve(asked);
    expect(Array.from(resolved.tokens)).toEqual([0, 1, 2, 1, 2, 0, 0, 0, 1, 2, 0]);
    expect(resolved.images).toEqual([{ position: 6, image: images[0]?.image }]);
    expect(resolved.assistantSpans).toEqual([
      { start: 1, end: 5 },
      { start: 9, end: 10 },
    ]);
    expect(asked.assistantSpans[0]).toEqual({ start: 1, end: 2 });
  });

  it('is found behind the same texts, whatever ids they had, and behind no others', () => {
    const kept = memory();
    const first = ids('a', 'b');
    const second = ids('b', 'a');
    kept.remember(prompt([0]), first, 2);
    kept.remember(prompt([0, first, 0]), second, 2);
    const asked = prompt([0, ids('ab'), 0, ids('ba'), 0]);
    expect(Array.from(kept.resolve(asked).tokens)).toEqual([0, ...first, 0, ...second, 0]);
    const alone = memory();
    alone.remember(prompt([0, first, 0]), second, 2);
    const found = alone.resolve(asked);
    expect(Array.from(found.tokens)).toEqual([0, ...ids('ab'), 0, ...second, 0]);
    for (const other of [ids('abab'), ids('a'), ids('ba'), ids('')]) {
      const behind = prompt([0, other, 0, ids('ba'), 0]);
      expect(alone.resolve(behind)).toBe(behind);
    }
    // Tokens that are no text of the assistant are no such text.
    const plain = prompt([0, ...first, 0, ids('ba'), 0]);
    expect(alone.resolve(plain)).toBe(plain);
  });

  it('is learnt where its ids are tokens that spell it, and nothing else', () => {
    const kept = memory();
    const asked = prompt([0, 1, 0, ids('ab'), 0]);
    const [text] = kept.texts(asked);
    if (text === undefined) throw new TypeError('no text');
    expect(text).toMatchObject({ span: { start: 3, end: 4 }, ids: null });
    const lies = [[], ids('a'), ids('b', 'a'), ids('a', 'b', 'b'), [1, 0, 2], [1, 2, -1], [99, 2]];
    for (const lie of lies) expect(kept.learn('', text, Int32Array.from(lie))).toBe(false);
    expect(kept.size.texts).toBe(0);
    expect(kept.learn('', text, Int32Array.from(ids('a', 'b')))).toBe(true);
    expect(Array.from(kept.resolve(asked).tokens)).toEqual([0, 1, 0, 1, 2, 0]);
    expect(kept.remember(prompt([0, 1, 0]), ids('a', 'b'), 2)?.key).toBe(text.key);
    kept.forget('other', [text.key]);
    expect(kept.size.texts).toBe(1);
    kept.forget('', [text.key]);
    expect(kept.resolve(asked)).toBe(asked);
  });

  it('is kept once for every text, and anew where the same text is said otherwise', () => {
    const kept = memory();
    kept.remember(prompt([0]), ids('ab', 'ab'), 4);
    kept.remember(prompt([0]), ids('b', 'a'), 2);
    kept.remember(prompt([0]), ids('a', 'b', 'ab'), 4);
    expect(kept.size.texts).toBe(2);
    const saidOf = (again: number[]): number[] =>
      Array.from(kept.resolve(prompt([0, again, 0])).tokens.subarray(1, -1));
    expect(saidOf(ids('abab'))).toEqual(ids('a', 'b', 'ab'));
    expect(saidOf(ids('ba'))).toEqual(ids('b', 'a'));
  });

  it('stays out of a prompt that would grow too long by it', () => {
    const kept = memory();
    kept.remember(prompt([0]), ids('a', 'b', 'a', 'b'), 4);
    const asked = prompt([0, ids('abab'), 0]);
    expect(kept.resolve(asked, 5)).toBe(asked);
    expect(kept.resolve(asked, 6).tokens).toHaveLength(6);
  });
});

describe('the text that comes back', () => {
  const again = ids('abab');

  it('is trimmed: whole tokens of whitespace are dropped', () => {
    const said = ids('\n', ' ', 'a', 'ba', 'b', ' ', '\n');
    expect(roundTrip(said, again)).toEqual(ids('a', 'ba', 'b'));
    expect(roundTrip(ids('a', ' ', 'b', ' '), ids('a ', 'b'))).toEqual(ids('a', ' ', 'b'));
  });

  it.each([
    ['begins inside a token', ids(' a', 'ba', 'b'), again],
    ['ends inside a token', ids('ab', 'b', 'a '), ids('a', 'b', 'ba')],
    ['begins inside a token with whitespace that ASCII lacks', ids('\u00a0b', 'a'), ids('ba')],
  ])('is not remembered where it %s', (_, said, text) => {
    expect(roundTrip(said, text)).toEqual(text);
  });

  it('ends before a stop string that begins on a border', () => {
    expect(roundTrip(ids('a', 'b', 'ab', 'ba'), again, 4)).toEqual(ids('a', 'b', 'ab'));
    expect(roundTrip(ids('a', 'b', ' ', 'a'), ids('ab'), 3)).toEqual(ids('a', 'b'));
  });

  it('ends before a stop string that cuts a token behind its whitespace', () => {
    expect(roundTrip(ids('a', 'b', ' a'), ids('ab'), 3)).toEqual(ids('a', 'b'));
  });

  it('is not remembered where a stop string cuts a token', () => {
    expect(roundTrip(ids('a', 'b', 'abab'), again, 4)).toEqual(again);
  });

  it('does not hold the id that ended it', () => {
    expect(roundTrip([...ids('a', 'ba', 'b'), 0], again, 4)).toEqual(ids('a', 'ba', 'b'));
    expect(roundTrip(ids('a', 'ba', 'b', 'b'), again, 4)).toEqual(ids('a', 'ba', 'b'));
  });

  it('is not remembered where a special token stands in it', () => {
    expect(roundTrip([...ids('a', 'ba'), 0, ...ids('b')], again)).toEqual(again);
  });

  it('is not remembered where it was shown with U+FFFD', () => {
    const [lead, rest] = [10, 11];
    expect(roundTrip([1, lead], ids('a', 'b'))).toEqual(ids('a', 'b'));
    const kept = memory();
    for (const broken of [
      [1, lead],
      [rest, 1],
      [lead, 1, rest],
      [1, rest],
    ]) {
      kept.remember(prompt([0]), broken, byteCount(broken));
    }
    // A stop string follows: its bytes must not stand in for those of U+FFFD.
    kept.remember(prompt([0]), [1, lead, ...ids('ab')], 2);
    expect(kept.size).toEqual({ texts: 0, tokens: 0 });
    kept.remember(prompt([0]), [1, lead, rest], 3);
    expect(kept.size.texts).toBe(1);
  });

  it('is not remembered where there is none', () => {
    const kept = memory();
    for (const empty of [[], [0], ids(' '), ids('\n', ' ', '\n')]) {
      kept.remember(prompt([0]), empty, byteCount(empty));
    }
    kept.remember(prompt([0]), ids('a'), 0);
    expect(kept.size).toEqual({ texts: 0, tokens: 0 });
  });

  it('takes a message left open together with its continuation', () => {
    const kept = memory();
    kept.remember(prompt([0, ids('ab')]), ids('a', 'b', ' '), 3);
    const next = kept.resolve(prompt([0, ids('abab'), 0]));
    expect(Array.from(next.tokens)).toEqual([0, ...ids('ab', 'a', 'b'), 0]);
    expect(next.assistantSpans).toEqual([{ start: 1, end: 4 }]);
    const longer = prompt([0, ids('ab'), 0, ids('ab'), 0]);
    expect(kept.resolve(longer)).toBe(longer);
  });

  it('goes on from its own ids when it is left open itself', () => {
    const kept = memory();
    kept.remember(prompt([0]), ids('a', 'b'), 2);
    const open = kept.resolve(prompt([0, ids('ab')]));
    expect(Array.from(open.tokens)).toEqual([0, ...ids('a', 'b')]);
    kept.remember(open, ids('ab'), 2);
    const closed = kept.resolve(prompt([0, ids('abab'), 0]));
    expect(Array.from(closed.tokens)).toEqual([0, ...ids('a', 'b', 'ab'), 0]);
  });
});

describe('the bound', () => {
  it('counts ids and texts, and drops what was used longest ago', () => {
    const cost = TEXT_COST_TOKENS + 4;
    const kept = memory(3 * cost);
    const isKept = (number: number): boolean => {
      const asked = prompt([0, number, ids('abab'), 0]);
      return kept.resolve(asked) !== asked;
    };
    const remember = (number: number): void =>
      void kept.remember(prompt([0, number]), ids('a', 'b', 'a', 'b'), 4);
    for (const number of [1, 2, 3]) remember(number);
    expect(kept.size).toEqual({ texts: 3, tokens: 3 * cost });
    expect(isKept(1)).toBe(true);
    remember(4);
    expect(kept.size).toEqual({ texts: 3, tokens: 3 * cost });
    expect([1, 2, 3, 4].map(isKept)).toEqual([true, false, true, true]);
    remember(3);
    expect(kept.size.texts).toBe(3);
  });

  it('keeps nothing that is longer than all of it, and drops nothing for it', () => {
    const kept = memory(TEXT_COST_TOKENS + 2);
    kept.remember(prompt([0]), ids('a', 'b'), 2);
    kept.remember(prompt([1]), ids('a', 'b', 'a'), 3);
    expect(kept.size).toEqual({ texts: 1, tokens: TEXT_COST_TOKENS + 2 });
    expect(kept.resolve(prompt([0, ids('ab'), 0])).tokens).toHaveLength(4);
  });

  it('holds whatever is said, in however many scopes', () => {
    const random = createSeededRandom(3);
    const maxTokens = 5 * TEXT_COST_TOKENS;
    const kept = memory(maxTokens);
    for (let round = 0; round < 500; round++) {
      const said = Array.from({ length: random.integer(1, 40) }, () => random.integer(1, 4));
      kept.remember(prompt([0], { scope: `scope ${round}` }), said, byteCount(said));
      expect(kept.size.tokens).toBeLessThanOrEqual(maxTokens);
      expect(kept.size.texts).toBeLessThanOrEqual(4);
      expect(kept.size.texts).toBeGreaterThan(0);
    }
  });
});
