import { setImmediate } from 'node:timers/promises';
import type { KvPage } from '../../src/engine/backend.ts';
import { checkKvRead, checkKvWrite } from '../../src/engine/check-kv.ts';
import type { RowRing } from '../../src/engine/row-ring.ts';
import type { LayerType, ModelConfig } from '../../src/model/config.ts';
import type { KvCache } from './kv-cache.ts';

/**
 * Rows in and out of the cache. Each part of a page is laid out as the cache is, with the page's tokens
 * in place of the capacity: for every layer of the type, in order, keys [kvHeads, tokens, headDim] and then
 * values, fp32.
 */
export interface KvPages {
  readonly tokenBytes: Readonly<Record<LayerType, number>>;
  /** @throws RangeError unless `row` holds tokens [from, to) */
  read(row: number, from: number, to: number): Promise<KvPage>;
  /**
   * See `Backend.writeKv`. The row changes while this runs: nothing else may touch it.
   * @throws RangeError when the pages do not hold enough; the row is empty then
   */
  write(row: number, pages: readonly KvPage[], length: number, keep: number): Promise<void>;
}

const FLOAT_BYTES = 4;
/** The event loop gets a turn after copying this much: a millisecond, far more into new memory. */
const BYTES_BETWEEN_TURNS = 4 * 2 ** 20;

/** Tokens [start, start + count) that lie one after the other, `stride` tokens from head to head. */
interface Run {
  readonly start: number;
  readonly count: number;
  readonly stride: number;
}

/** Rows are numbered as in the cache. */
export function createKvPages(cache: KvCache, config: ModelConfig, contextTokens: number): KvPages {
  const { kvHeadCount, headDim, layerTypes } = config.text;
  const headTokenBytes = headDim * FLOAT_BYTES;
  const buffers: Readonly<Record<LayerType, readonly Uint8Array[]>> = {
    global: buffersOf('global'),
    local: buffersOf('local'),
  };
  const tokenBytes = {
    global: buffers.global.length * kvHeadCount * headTokenBytes,
    local: buffers.local.length * kvHeadCount * headTokenBytes,
  };
  let bytesSinceTurn = 0;

  /** Keys and values of each layer of the type: [rows, kvHeads, capacity, headDim]. */
  function buffersOf(type: LayerType): readonly Uint8Array[] {
    return cache.layers
      .filter((_, layer) => layerTypes[layer] === type)
      .flatMap((pair) => pair.map(({ buffer }) => new Uint8Array(buffer)));
  }

  function stateOf(row: number): RowRing {
    const state = cache.rows[row];
    if (state === undefined) throw new RangeError(`no row ${row}`);
    return state;
  }

  /**
   * Walks through the heads of a row in the order of a page.
   * @param visit gets the head's entries [from, from + count) as bytes, and its number in the page
   */
  async function eachHead(
    type: LayerType,
    row: number,
    from: number,
    count: number,
    visit: (entries: Uint8Array, head: number) => void,
  ): Promise<void> {
    if (count <= 0) return;
    const capacity = cache.capacity[type];
    let headInPage = 0;
    for (const bytes of buffers[type]) {
      for (let head = 0; head < kvHeadCount; head++) {
        const at = ((row * kvHeadCount + head) * capacity + from) * headTokenBytes;
        visit(bytes.subarray(at, at + count * headTokenBytes), headInPage++);
        bytesSinceTurn += count * headTokenBytes;
        if (bytesSinceTurn < BYTES_BETWEEN_TURNS) continue;
        bytesSinceTurn = 0;
        await setImmediate();
      }
    }
  }

  /** Copies entries of a row, from index `at` on, into a whole part of a page. */
  async function copyOut(
    type: LayerType,
    row: number,
    at: number,
    count: number,
  ): Promise<Uint8Array> {
    const part = new Uint8Array(count * tokenBytes[type]);
    await eachHead(type, row, at, count, (entries, head) => {
      part.set(entries, head * entries.length);
    });
    return part;
  }

  /** Copies tokens `run` of a page's part to entries of a row, from index `at` on. */
  async function copyIn(
    type: LayerType,
    row: number,
    at: number,
    part: Uint8Array,
    run: Run,
  ): Promise<void> {
    await eachHead(type, row, at, run.count, (entries, head) => {
      const from = (head * run.stride + run.start) * headTokenBytes;
      entries.set(part.subarray(from, from + entries.length));
    });
  }

  async function copyPage(row: number, page: KvPage, keep: number): Promise<void> {
    const { length, origin, localStart } = stateOf(row);
    const { start, count } = page;
    const end = Math.min(length, start + count);
    const from = Math.max(keep, start);
    await copyIn('global', row, from, page.global, {
      start: from - start,
      count: end - from,
      stride: count,
    });
    const localFrom = Math.max(localStart, page.localStart);
    await copyIn('local', row, localFrom - origin, page.local, {
      start: localFrom - page.localStart,
      count: end - localFrom,
      stride: start + count - page.localStart,
    });
  }

  return {
    tokenBytes,
    async read(row, from, to) {
      const { length, origin, localStart } = stateOf(row);
      checkKvRead(from, to, length);
      const localFrom = Math.min(to, Math.max(from, localStart));
      return {
        start: from,
        count: to - from,
        global: await copyOut('global', row, from, to - from),
        localStart: localFrom,
        local: await copyOut('local', row, localFrom - origin, to - localFrom),
      };
    },
    async write(row, pages, length, keep) {
      const state = stateOf(row);
      const limits = {
        config,
        rowTokens: contextTokens,
        kvTokenBytes: tokenBytes,
        heldTokens: state.length,
      };
      try {
        state.restore(length, checkKvWrite(pages, length, keep, limits));
        // Not even what an earlier sequence left: it might not be finite.
        const fillers = state.localStart - state.origin;
        await eachHead('local', row, 0, fillers, (entries) => entries.fill(0));
        for (const page of pages) await copyPage(row, page, keep);
      } catch (error) {
        state.truncate(0);
        throw error;
      }
    },
  };
}
