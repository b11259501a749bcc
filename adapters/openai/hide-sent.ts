import { isObject } from '../../src/openai/parse.ts';

/** Fields whose texts are the client's. */
const PRIVATE: ReadonlySet<string> = new Set(['content', 'text', 'prompt', 'url', 'stop']);
/** Characters in a row that are no coincidence. */
const WINDOW = 12;
const STEP = 4;
const SHORTEST = 4;

/**
 * Takes out of a server's words what it repeats of the request: they go to the log. Data URIs are left to
 * others, who know them by their looks.
 */
export function createHideSent(body: unknown): (text: string) => string {
  const sent = textsOf(body, false).filter(
    (text) => text.length >= SHORTEST && !/^\s*data:/i.test(text),
  );
  return (text) => {
    let shown = text;
    for (const short of sent) {
      if (short.length < WINDOW + STEP) shown = shown.replaceAll(short, '...');
    }
    for (const long of sent) {
      if (long.length >= WINDOW + STEP) shown = without(shown, long);
    }
    return shown;
  };
}

function textsOf(value: unknown, isPrivate: boolean): readonly string[] {
  if (typeof value === 'string') return isPrivate ? [value] : [];
  if (Array.isArray(value)) return value.flatMap((item) => textsOf(item, isPrivate));
  if (!isObject(value)) return [];
  return Object.entries(value).flatMap(([key, field]) =>
    textsOf(field, isPrivate || PRIVATE.has(key)),
  );
}

/** @returns `text` with `...` for each part of `sent` in it */
function without(text: string, sent: string): string {
  let shown = '';
  /** Where what is not yet shown begins. */
  let from = 0;
  for (let at = 0; at + WINDOW <= text.length; at += STEP) {
    const place = sent.indexOf(text.slice(at, at + WINDOW));
    if (place < 0) continue;
    let before = 0;
    while (
      at - before > from &&
      place > before &&
      text[at - before - 1] === sent[place - before - 1]
    )
      before++;
    let after = WINDOW;
    while (at + after < text.length && text[at + after] === sent[place + after]) after++;
    shown += `${text.slice(from, at - before)}...`;
    from = at + after;
    at = from - STEP;
  }
  return shown + text.slice(from);
}
