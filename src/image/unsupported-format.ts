import type { ServeError } from '../errors.ts';
import { invalidImage, unsupportedImage } from './image-error.ts';

const CONVERT = 'convert it to JPEG, PNG, WebP or GIF.';
const TAKE_A_FRAME = 'send single frames as JPEG or PNG.';
const PAGES = 'send its pages as JPEG or PNG images.';
const THE_FILE = 'send the image file itself.';

/** Formats that arrive often enough to be named, by what stands where. The first match counts. */
const MAGIC: readonly (readonly [at: number, magic: string, name: string, instead: string])[] = [
  [4, 'ftypavi', 'AVIF', CONVERT],
  [4, 'ftyphei', 'HEIC', CONVERT],
  [4, 'ftyphev', 'HEIC', CONVERT],
  [4, 'ftypmif1', 'HEIC', CONVERT],
  [4, 'ftypmsf1', 'HEIC', CONVERT],
  [4, 'ftyp', 'an MP4 or QuickTime file', TAKE_A_FRAME],
  [8, 'AVI ', 'an AVI video', TAKE_A_FRAME],
  [0, '\x1aE\xdf\xa3', 'a WebM or Matroska video', TAKE_A_FRAME],
  [0, 'BM', 'BMP', CONVERT],
  [0, 'II*\0', 'TIFF', CONVERT],
  [0, 'II+\0', 'TIFF', CONVERT],
  [0, 'MM\0*', 'TIFF', CONVERT],
  [0, 'MM\0+', 'TIFF', CONVERT],
  [0, '\0\0\x01\0', 'an ICO file', CONVERT],
  [0, '\xff\x0a', 'JPEG XL', CONVERT],
  [0, '\0\0\0\x0cJXL ', 'JPEG XL', CONVERT],
  [0, '\0\0\0\x0cjP  ', 'JPEG 2000', CONVERT],
  [0, '\xff\x4f\xff\x51', 'JPEG 2000', CONVERT],
  [0, '8BPS', 'a Photoshop file', CONVERT],
  [0, 'P5\n', 'PGM', CONVERT],
  [0, 'P6\n', 'PPM', CONVERT],
  [0, '%!PS', 'PostScript', PAGES],
  [0, '%PDF-', 'a PDF', PAGES],
  [0, 'PK\x03\x04', 'a ZIP archive', THE_FILE],
  [0, '\x1f\x8b', 'gzip-compressed', THE_FILE],
  [0, 'data:', 'a data URI in place of its bytes', 'send it as image_url.'],
];

/** The same for text, which may begin with a byte order mark and white space. */
const TEXT: readonly (readonly [pattern: RegExp, name: string, instead: string])[] = [
  [/^<(!doctype html|html|head|body)/i, 'a web page', 'link to the image file itself.'],
  [/^<(\?xml|svg|!doctype svg|!--)/i, 'SVG or XML', 'draw it as PNG first.'],
  [/^[{[]/, 'JSON', THE_FILE],
];

/**
 * Says why a file is refused whose first bytes are of no format we read.
 * @param start the first bytes, one character each
 */
export function refuseFormat(start: string): ServeError {
  for (const [at, magic, name, instead] of MAGIC) {
    if (start.startsWith(magic, at)) return unsupportedImage(name, instead);
  }
  const text = start.replace(/^\xef\xbb\xbf/, '').trimStart();
  for (const [pattern, name, instead] of TEXT) {
    if (pattern.test(text)) return unsupportedImage(name, instead);
  }
  return invalidImage('its format is unknown. Send JPEG, PNG, WebP or GIF.');
}
