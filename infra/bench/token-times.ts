/** When tokens came, in milliseconds: one ascending list a stream. */
export type TokenTimes = readonly (readonly number[])[];

/** From here on every stream decodes; Infinity while one has no token yet. */
export function allStartedMs(times: TokenTimes): number {
  return Math.max(...times.map((stream) => stream[0] ?? Infinity));
}

/** Whether every stream has at least `count` tokens later than `ms`. */
export function haveTokensAfter(times: TokenTimes, ms: number, count: number): boolean {
  return times.every((stream) => {
    const next = stream.at(-count);
    return next !== undefined && next > ms;
  });
}

/**
 * Tokens per second of all streams together while every one of them decodes. Each stream is timed
 * from its own first to its own last token of that time, so that it does not matter where between
 * the tokens of one step the time begins and ends.
 * @throws RangeError when a stream has fewer than two tokens then
 */
export function rateTogether(times: TokenTimes): number {
  const start = allStartedMs(times);
  const end = Math.min(...times.map((stream) => stream.at(-1) ?? -Infinity));
  let tokensPerSecond = 0;
  for (const stream of times) {
    const within = stream.filter((ms) => ms >= start && ms <= end);
    const [first, last] = [within[0], within.at(-1)];
    if (first === undefined || last === undefined || last === first) {
      throw new RangeError('the streams never decoded together');
    }
    tokensPerSecond += ((within.length - 1) * 1000) / (last - first);
  }
  return tokensPerSecond;
}

/** Milliseconds between successive tokens, of every pause that overlaps [from, to]. */
export function gapsDuring(times: TokenTimes, fromMs: number, toMs: number): number[] {
  return times.flatMap((stream) =>
    stream.flatMap((ms, at) => {
      const before = stream[at - 1];
      return before === undefined || ms <= fromMs || before >= toMs ? [] : [ms - before];
    }),
  );
}
