/**
 * The attention rule of Gemma 3. `allow` is the definition; everything else builds what the
 * kernels need from it, and tests compare against it.
 */

/** Added to scores that must not count; far below any real score, and finite so that no NaN can arise. */
export const MASKED_BIAS: number = -1e9;

/**
 * The image each token belongs to: -1 for text, else the number of its run of image tokens.
 * Begin and end markers are text, so two images never share a run.
 */
export function imageGroups(tokens: Int32Array, imageTokenId: number): Int32Array {
  const groups = new Int32Array(tokens.length).fill(-1);
  let group = -1;
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] !== imageTokenId) continue;
    if (i === 0 || tokens[i - 1] !== imageTokenId) group++;
    groups[i] = group;
  }
  return groups;
}

/**
 * Whether query `i` sees key `j`: text looks back only, an image's tokens see each other both ways.
 * @param groups of {@link imageGroups}
 * @param window tokens a local layer sees, itself included; null for global layers
 */
export function allow(i: number, j: number, groups: Int32Array, window: number | null): boolean {
  const group = groups[i] ?? -1;
  const isSameImage = group >= 0 && group === groups[j];
  const isInWindow = window === null || j > i - window;
  return isInWindow && (j <= i || isSameImage);
}

/**
 * Fills the additive bias of a local layer for one image run of `count` tokens that follows
 * `past` cached tokens. Keys are the cached tokens in order and then the run itself.
 * @param out [count, past + count]: 0 where visible, else {@link MASKED_BIAS}
 * @param window tokens a local layer sees, itself included
 */
export function fillLocalImageBias(
  out: Float32Array,
  past: number,
  count: number,
  window: number,
): void {
  const width = past + count;
  if (out.length !== count * width) {
    throw new RangeError(`bias needs ${count} x ${width} values, got ${out.length}`);
  }
  out.fill(0);
  for (let i = 0; i < count; i++) {
    // The first visible key is past + i - window + 1; the run's own later tokens are all visible.
    const hidden = past + i - window + 1;
    if (hidden > 0) out.fill(MASKED_BIAS, i * width, i * width + Math.min(hidden, width));
  }
}
