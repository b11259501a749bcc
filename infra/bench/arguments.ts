/** @throws RangeError unless `text` is a whole number from `least` */
export function whole(name: string, text: string, least = 1): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least) {
    throw new RangeError(`${name} takes a whole number from ${least}, not '${text}'`);
  }
  return value;
}

/**
 * A list such as `1,2,4`, ascending.
 * @throws RangeError unless all are whole numbers from 1
 */
export function wholes(name: string, text: string): readonly number[] {
  const values = text.split(',').map((part) => whole(name, part));
  return values.toSorted((a, b) => a - b);
}

/**
 * A list such as `0.05,1`, ascending.
 * @throws RangeError unless all are decimal numbers above 0
 */
export function decimals(name: string, text: string): readonly number[] {
  const values = text.split(',').map((part) => {
    const value = Number(part);
    if (/^\d+(\.\d+)?$/.test(part) && value > 0) return value;
    throw new RangeError(`${name} takes numbers above 0, not '${part}'`);
  });
  return values.toSorted((a, b) => a - b);
}
