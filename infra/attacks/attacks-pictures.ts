import type { Attack, Attacker } from './attack.ts';
import { CHAT } from './attacks-work.ts';
import { HOSTILE_PICTURES, type PicturePart } from './hostile-pictures.ts';

/** Pictures that are dear to decode; the ones of finding H2, from the dearest on. */
export const PICTURE_ATTACKS: readonly Attack[] = [
  pictures('picture-cmyk-scans', 'CMYK JPEGs of 100 scans, 16384x2441', 'cmykScans'),
  pictures('picture-colour-scans', 'colour JPEGs of 100 scans, 16384x2441', 'colourScans'),
  pictures('picture-gray-scans', 'gray JPEGs of 100 scans, 16384x2441', 'grayScans'),
  pictures('picture-cmyk', 'CMYK JPEGs of one scan, 16384x2441', 'cmyk'),
  pictures('picture-webp', '12 WebP pictures of 40 bytes, 16383x2441, a request', 'webp', 12),
  pictures('picture-webp-64', '64 such WebP pictures a request', 'webp', 64),
  pictures('picture-png-chunks', 'PNGs of 1.6 million empty chunks', 'pngChunks'),
  pictures('picture-gif', 'GIFs of one colour, 16384x2441', 'gif'),
  {
    name: 'picture-urls',
    finding: 'H6',
    what: '4 requests of 128 picture URLs that lead nowhere',
    targets: ['serve', 'gateway'],
    run: ({ post, forever }) =>
      forever(4, () => post(CHAT, ask(Array.from({ length: 128 }, (_, index) => urlPart(index))))),
  },
];

function pictures(
  name: string,
  what: string,
  kind: keyof typeof HOSTILE_PICTURES,
  count = 1,
): Attack {
  return {
    name,
    finding: 'H2',
    what: `2 clients that send ${what}`,
    targets: ['serve', 'gateway'],
    async run({ post, forever }: Attacker) {
      const picture = HOSTILE_PICTURES[kind]();
      const body = JSON.stringify(ask(Array.from({ length: count }, () => picture)));
      await forever(2, () => post(CHAT, body));
    },
  };
}

function ask(parts: readonly PicturePart[]): object {
  return { messages: [{ role: 'user', content: parts }], max_tokens: 1 };
}

function urlPart(index: number): PicturePart {
  return { type: 'image_url', image_url: { url: `https://nowhere-${index}.example.com/a.png` } };
}
