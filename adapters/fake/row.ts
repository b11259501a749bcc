import type { KvPage } from '../../src/engine/backend.ts';
import { createRowRing, ringCapacity } from '../../src/engine/row-ring.ts';
import type { RowRing, RowRingOptions } from '../../src/engine/row-ring.ts';
import { mix } from './hash.ts';

/** What one token takes in each part of a page: a word. */
export const FAKE_TOKEN_BYTES = 4;

/** Separates what is stored in local layers from what is stored in global ones. */
const LOCAL_SALT = 0x51ed27;
/** Stands where no right computation may look. */
const DEAD = 0xdead;

/** One row of the fake: a word for each token in place of its keys and values. */
export interface FakeRow {
  readonly ring: RowRing;
  /** [rowTokens + 1], by position: the spare entry takes dead writes into a full row. */
  readonly global: Uint32Array;
  /** [ring capacity], by position - origin */
  readonly local: Uint32Array;
  /** Makes room for `count` tokens. */
  reserve(count: number): void;
  /** Writes one token behind the row's end; returns the hidden state there. */
  append(content: number): number;
  /** Writes behind the row's end, as kernels do in rows they only pass. */
  writeDead(): void;
  copyFrom(source: FakeRow, length: number): void;
  /** Tokens [from, to), which the row holds. */
  read(from: number, to: number): KvPage;
  /** @param localFrom first position from which on `pages` hold the local part without a gap */
  restore(pages: readonly KvPage[], length: number, keep: number, localFrom: number): void;
}

export function createFakeRow(rowTokens: number, ringOptions: RowRingOptions): FakeRow {
  const { windowTokens } = ringOptions;
  const ring = createRowRing(ringOptions);
  const global = new Uint32Array(rowTokens + 1);
  const local = new Uint32Array(ringCapacity(ringOptions));

  return {
    ring,
    global,
    local,
    reserve(count) {
      const shift = ring.reserve(count);
      if (shift > 0) local.copyWithin(0, shift, ring.localLength + shift);
    },
    append(content) {
      const position = ring.length;
      let state = mix(content, position);
      for (let at = 0; at < position; at++) state = mix(state, global[at] ?? 0);
      for (let at = Math.max(ring.origin, position - windowTokens + 1); at < position; at++) {
        state = mix(state, mix(local[at - ring.origin] ?? 0, at));
      }
      global[position] = state;
      local[position - ring.origin] = mix(state, LOCAL_SALT);
      ring.advance(1);
      return state;
    },
    writeDead() {
      global[ring.length] = DEAD;
      local[ring.localLength] = DEAD;
    },
    copyFrom(source, length) {
      ring.copyFrom(source.ring, length);
      global.set(source.global.subarray(0, length));
      local.set(source.local.subarray(0, ring.localLength));
    },
    read(from, to) {
      const localStart = Math.min(to, Math.max(from, ring.localStart));
      return {
        start: from,
        count: to - from,
        global: bytesOf(global.slice(from, to)),
        localStart,
        local: bytesOf(local.slice(localStart - ring.origin, to - ring.origin)),
      };
    },
    restore(pages, length, keep, localFrom) {
      ring.restore(length, localFrom);
      const { origin, localStart } = ring;
      local.fill(DEAD);
      for (const page of pages) {
        const end = Math.min(length, page.start + page.count);
        fill(global, 0, page.global, page.start, Math.max(keep, page.start), end);
        const from = Math.max(localStart, page.localStart);
        fill(local, origin, page.local, page.localStart, from, end);
      }
    },
  };
}

/** Copies positions [from, to) of a page's part that starts at `start` into a buffer that starts at `origin`. */
function fill(
  target: Uint32Array,
  origin: number,
  part: Uint8Array,
  start: number,
  from: number,
  to: number,
): void {
  if (from >= to) return;
  const bytes = part.subarray((from - start) * FAKE_TOKEN_BYTES, (to - start) * FAKE_TOKEN_BYTES);
  bytesOf(target).set(bytes, (from - origin) * FAKE_TOKEN_BYTES);
}

function bytesOf(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}
