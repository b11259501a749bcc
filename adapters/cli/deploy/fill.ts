/**
 * Fills a text of lines: `${NAME}` becomes a value, and a line that ends in `# if FLAG` stays, without
 * these words, where the flag is true.
 * @param values must be safe where they stand: they are not quoted
 * @throws Error for names and flags that nobody gave: a defect of the text
 */
export function fill(
  text: string,
  values: Readonly<Record<string, string>>,
  flags: Readonly<Record<string, boolean>>,
): string {
  return text
    .split('\n')
    .flatMap((line) => {
      const [, kept, flag] = /^(.*?) *# if (\w+)$/.exec(line) ?? [null, line, null];
      if (flag === null || flag === undefined) return [line];
      return known(flags, flag) ? [kept ?? ''] : [];
    })
    .map((line) => line.replaceAll(/\$\{([A-Z_0-9]+)\}/g, (_, name: string) => known(values, name)))
    .join('\n');
}

function known<T>(from: Readonly<Record<string, T>>, name: string): T {
  const value = from[name];
  if (value === undefined)
    throw new Error(`"${name}" stands in a file of infra/ and is not known.`);
  return value;
}
