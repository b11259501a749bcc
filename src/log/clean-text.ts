/** Text that may stand in a log: one line, bounded, without what looks secret. */
export type CleanText = (text: string, maxCharacters: number) => string;

/** What is read of a text at most: patterns must not meet megabytes. */
const READ_CHARACTERS = 4_096;
/** Of a text that was cut there, the end may be half a secret. */
const DOUBTFUL_CHARACTERS = 256;
/** Shorter ones would take apart every word. */
const SHORTEST_SECRET = 4;

/** Pictures and the like; a sha256 has 64 digits and stays. */
const DATA_URI = /\bdata:[^\s"'<>]+/gi;
const LONG_RUN = /[\w+/=-]{100,}/g;
const AUTHORIZATION = /\b(Bearer|Basic)\s+[^\s"',;]+/gi;
const KNOWN_KEYS = /\b(?:sk-|hf_|whsec_|rpa_|ghp_|AKIA|ASIA)[\w-]{8,}/g;
const URLS = /\b([a-z][a-z0-9+.-]*:\/\/)([^\s"'<>]+)/gi;
/** Queries sign and name things; also where no scheme goes before. */
const QUERY = /\?[^\s"'<>]*=[^\s"'<>]*/g;
/** Controls end lines and steer terminals, format characters turn text around. */
const UNPRINTABLE =
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
/** Of a surrogate pair. */
const HALF_CHARACTER = /\p{Surrogate}/gu;

/** @param secrets hidden wherever they stand, such as the server's own keys */
export function createCleanText(secrets: readonly string[] = []): CleanText {
  const hidden = secrets
    .filter((secret) => secret.length >= SHORTEST_SECRET)
    .toSorted((a, b) => b.length - a.length);
  return (text, maxCharacters) => {
    let shown = text.slice(0, READ_CHARACTERS);
    for (const secret of hidden) shown = shown.replaceAll(secret, '***');
    shown = shown
      .replaceAll(DATA_URI, 'data:***')
      .replaceAll(URLS, (_, scheme: string, rest: string) => scheme + bareAddress(rest))
      .replaceAll(QUERY, '?***')
      .replaceAll(AUTHORIZATION, '$1 ***')
      .replaceAll(KNOWN_KEYS, '***')
      .replaceAll(LONG_RUN, '***')
      .replaceAll(UNPRINTABLE, escaped)
      .replaceAll(HALF_CHARACTER, '\ufffd');
    const isCut = text.length > READ_CHARACTERS;
    if (isCut) shown = shown.slice(0, -DOUBTFUL_CHARACTERS);
    if (shown.length <= maxCharacters) return isCut ? `${shown}…` : shown;
    return `${shown.slice(0, maxCharacters - 1).replace(HALF_CHARACTER, '')}…`;
  };
}

/** A URL behind its scheme without user, password, query and fragment. */
function bareAddress(rest: string): string {
  const [place = ''] = rest.split(/[?#]/, 1);
  const slash = place.indexOf('/');
  const host = slash < 0 ? place : place.slice(0, slash);
  return host.slice(host.lastIndexOf('@') + 1) + place.slice(host.length);
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
