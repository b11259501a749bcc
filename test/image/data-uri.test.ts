import { describe, expect, it } from 'vitest';
import { decodeBase64, isDataUri, parseDataUri } from '../../src/image/data-uri.ts';
import { forSeeds } from '../support/seeded-random.ts';
import { thrownBy } from '../support/thrown-by.ts';

const limits = { maxBytes: 1000 };

function messageOf(uri: string): string {
  const { code, message } = thrownBy(() => parseDataUri(uri, limits));
  return `${code}: ${message}`;
}

describe('isDataUri', () => {
  it('knows data URIs in any case, and nothing else', () => {
    expect([' data:,x', 'DATA:image/png;base64,', 'https://a/data:', 'dat'].map(isDataUri)).toEqual(
      [true, true, false, false],
    );
  });
});

describe('parseDataUri', () => {
  it('decodes base64 of every length, with and without padding', async () => {
    await forSeeds(70, (random, length) => {
      const bytes = Uint8Array.from({ length }, () => random.integer(0, 255));
      const text = Buffer.from(bytes).toString('base64');
      for (const body of [text, text.replace(/=+$/, ''), encodeURIComponent(text)]) {
        const decoded = parseDataUri(`data:image/png;base64,${body}`, limits);
        expect([...decoded]).toEqual([...bytes]);
      }
    });
  });

  it('ignores the media type and its parameters, and takes base64 in any case', () => {
    for (const head of ['data:', 'data:text/plain;charset=x', 'DATA:image/jpeg;name=a.png']) {
      expect([...parseDataUri(`${head};BASE64,AAEC`, limits)]).toEqual([0, 1, 2]);
    }
  });

  it('decodes percent-encoded data', () => {
    expect([...parseDataUri('data:image/gif,GIF%00%ffa', limits)]).toEqual([
      71, 73, 70, 0, 255, 97,
    ]);
  });

  it('forgives white space around the whole', () => {
    expect([...parseDataUri(' data:;base64,AAEC\n', limits)]).toEqual([0, 1, 2]);
  });

  const wrong: readonly (readonly [uri: string, words: string])[] = [
    ['data:;base64,AAE*AAA', '"*" at position 3'],
    ['data:;base64,AA-_', 'URL-safe'],
    ['data:;base64,AAAA\nAAAA', 'line breaks'],
    ['data:;base64,AA=A', '"=" at position 2'],
    ['data:;base64,AAAAA', 'ends in the middle'],
    ['data:;base64,AAA==', 'ends in the middle'],
    ['data:;base64,A===', '"=" at position 1'],
    ['data:;base64,AA\u00e9A', 'position 2'],
    ['data:image/png;base64', 'no comma'],
    ['data:,a%2', '% without two hex digits at position 7'],
    ['data:,a b', 'position 7'],
    [`data:${'x'.repeat(2000)},a`, 'no comma'],
    ['https://example.com/,', 'no comma'],
  ];
  for (const [uri, words] of wrong) {
    it(`refuses ${JSON.stringify(uri.slice(0, 30))} and says where`, () => {
      expect(messageOf(uri)).toContain(words);
      expect(messageOf(uri)).toMatch(/^invalid_url: /);
    });
  }

  it('refuses what is too long from its length, before looking at it', () => {
    expect(messageOf(`data:;base64,${'*'.repeat(2000)}`)).toMatch(/^image_too_large: /);
    expect(messageOf(`data:,${'%'.repeat(4000)}`)).toMatch(/^image_too_large: /);
    expect(messageOf(`data:,${'a'.repeat(1001)}`)).toMatch(/^image_too_large: /);
    expect(
      parseDataUri(`data:;base64,${Buffer.alloc(1000).toString('base64')}`, limits),
    ).toHaveLength(1000);
  });
});

describe('decodeBase64', () => {
  it('agrees with the platform on a large text', () => {
    const bytes = Buffer.alloc(100_000, 'some picture');
    expect(Buffer.from(decodeBase64(bytes.toString('base64'))).equals(bytes)).toBe(true);
  });
});
