/**
 * Index arithmetic of one KV row, shared by every backend that keeps rows as dense buffers.
 *
 * Global layers store position p at index p. Local (sliding window) layers store it at index
 * `p - origin` of a buffer of `capacity` tokens; when a step does not fit, the caller moves the
 * local entries down and `origin` grows. Origins stay multiples of the alignment, because moving
 * a cache by whole vector blocks leaves the bits of later results alone and other moves do not.
 *
 * A row restored from pages starts at the origin it could have had, but its pages may hold less than
 * that: entries before `localStart` are fillers, always masked, and no cut may bring them into view.
 */

/** Tokens: local entries move by multiples of this. Attention kernels are bit-stable under it. */
const RING_ALIGN_TOKENS = 128;

/** Tokens a decode compaction leaves before the window, so that a small cut-back stays free. */
const CUT_BACK_TOKENS = 64;

export interface RowRingOptions {
  /** Tokens a local layer sees, the newest included; >= 1. */
  readonly windowTokens: number;
  /** Most tokens one step writes into a row: the longest text chunk or image run; >= 1. */
  readonly chunkTokens: number;
  /** Tokens; only tests with tiny rows change it. */
  readonly alignTokens?: number;
}

/** What one row holds: positions [0, length) globally and [origin, length) locally. */
export interface RowRing {
  /** Tokens held by the row. */
  readonly length: number;
  /** Absolute position of local index 0; a multiple of the alignment. */
  readonly origin: number;
  /** Entries in use in the local buffer: `length - origin`, always below the capacity. */
  readonly localLength: number;
  /** First position whose local entry is real: `origin`, or later in a restored row. */
  readonly localStart: number;
  /**
   * Makes room for the next `count` tokens, which go to local indices from `localLength` on.
   * Call it before the write and {@link advance} after it; a failed write needs neither undone.
   * @param count 1..chunkTokens; 1 also compacts early, so that decode walks few masked entries
   * @returns entries to drop at the front: when not 0, move local indices
   *   [shift, localLength + shift) to [0, localLength), with `localLength` as it is after the call
   * @throws RangeError for a count out of range
   */
  reserve(count: number): number;
  /** Counts `count` tokens as written. */
  advance(count: number): void;
  /**
   * What {@link truncate} would keep of `length`: `length` or 0.
   * @throws RangeError when `length` is not in 0..this.length
   */
  keepable(length: number): number;
  /**
   * Cuts back to `length` tokens if the whole window before the cut is still held; otherwise
   * empties the row.
   * @returns tokens kept: `length` or 0
   * @throws RangeError when `length` is not in 0..this.length
   */
  truncate(length: number): number;
  /**
   * Becomes the first `length` tokens of `source`; the caller copies global [0, length) and local
   * [0, length - source.origin).
   * @throws RangeError when `source` no longer holds the window before `length`
   */
  copyFrom(source: RowRing, length: number): void;
  /**
   * Becomes a row of `length` tokens whose window is then written from elsewhere: local positions
   * from `origin` on, which is where it would lie had the row computed them.
   * @param localFrom first position that is written; those between `origin` and it are fillers
   * @throws RangeError when that leaves the window incomplete
   */
  restore(length: number, localFrom: number): void;
}

/**
 * Entries a local buffer needs, in tokens: the window before a step, the alignment's loss, the
 * longest step, and one spare entry, rounded up to the alignment. The spare one lets a batched
 * decode run over an idle row: it then writes one dead entry at index `localLength`.
 */
export function ringCapacity(options: RowRingOptions): number {
  const align = options.alignTokens ?? RING_ALIGN_TOKENS;
  const needed = options.windowTokens - 1 + (align - 1) + options.chunkTokens + 1;
  return Math.ceil(needed / align) * align;
}

/** Creates the state of one empty row. */
export function createRowRing(options: RowRingOptions): RowRing {
  const { windowTokens, chunkTokens } = options;
  const align = options.alignTokens ?? RING_ALIGN_TOKENS;
  checkPositive('windowTokens', windowTokens);
  checkPositive('chunkTokens', chunkTokens);
  checkPositive('alignTokens', align);
  const usable = ringCapacity(options) - 1;
  const before = windowTokens - 1;
  const slack = Math.min(CUT_BACK_TOKENS, align >> 1);
  let length = 0;
  let origin = 0;
  let localStart = 0;

  function keepable(target: number): number {
    if (!Number.isInteger(target) || target < 0 || target > length) {
      throw new RangeError(`cannot cut a row of ${length} tokens to ${target}`);
    }
    return localStart <= Math.max(0, target - before) ? target : 0;
  }

  return {
    get length() {
      return length;
    },
    get origin() {
      return origin;
    },
    get localLength() {
      return length - origin;
    },
    get localStart() {
      return localStart;
    },
    reserve(count) {
      if (!Number.isInteger(count) || count < 1 || count > chunkTokens) {
        throw new RangeError(`a step writes 1 to ${chunkTokens} tokens into a row, not ${count}`);
      }
      const local = length - origin;
      // Just enough blocks: the capacity leaves the window untouched then, and what is not dropped
      // keeps later cuts free.
      let blocks = Math.max(0, Math.ceil((local + count - usable) / align));
      if (count === 1) blocks = Math.max(blocks, Math.floor((local - before - slack) / align));
      origin += blocks * align;
      localStart = Math.max(localStart, origin);
      return blocks * align;
    },
    advance(count) {
      length += count;
      if (length - origin > usable) throw new RangeError('advance without reserve');
    },
    keepable,
    truncate(target) {
      length = keepable(target);
      if (length === 0) origin = localStart = 0;
      return length;
    },
    copyFrom(source, target) {
      if (source.keepable(target) !== target) {
        throw new RangeError(`the source row no longer holds the window before token ${target}`);
      }
      length = target;
      origin = target === 0 ? 0 : source.origin;
      localStart = target === 0 ? 0 : source.localStart;
    },
    restore(target, localFrom) {
      const windowStart = Math.max(0, target - before);
      if (!Number.isInteger(target) || target < 0 || !(localFrom <= windowStart)) {
        throw new RangeError(
          `a row of ${target} tokens needs local entries from ${windowStart} on, not ${localFrom}`,
        );
      }
      length = target;
      origin = Math.floor(windowStart / align) * align;
      localStart = Math.max(origin, localFrom);
    },
  };
}

function checkPositive(name: string, value: number): void {
  if (!Number.isInteger(value) || value < 1) throw new RangeError(`${name} must be >= 1: ${value}`);
}
