/**
 * Whitespace to Python's `str.strip`, which `trim` is in templates. JavaScript's `trim` differs: it
 * takes U+FEFF and leaves U+001C to U+001F and U+0085.
 */
const WHITESPACE: ReadonlySet<string> = new Set(
  '\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006' +
    '\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000',
);

/** Removes Python's whitespace from both ends. */
export function trimWhitespace(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && WHITESPACE.has(text.charAt(start))) start++;
  while (end > start && WHITESPACE.has(text.charAt(end - 1))) end--;
  return text.slice(start, end);
}
