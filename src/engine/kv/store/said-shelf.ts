import { abortable } from '../../../lib/abortable.ts';
import type { Clock } from '../../../lib/clock.ts';
import { runBounded } from '../../../lib/run-bounded.ts';
import type { ObjectStore } from '../../../weights/object-store.ts';
import type { SaidIds } from '../../said.ts';
import type { KvContent, WantedIds } from '../kv-store.ts';
import { isRefused } from './page-codec.ts';
import { headOrNull } from './page-finder.ts';
import type { PageWriter } from './page-writer.ts';
import { saidObjectBytes, type SaidCodec } from './said-object.ts';
import type { UseBook } from './retention/use-book.ts';
import { withinMs } from './within-ms.ts';

export interface SaidShelfOptions {
  readonly store: ObjectStore;
  readonly codec: SaidCodec;
  readonly writer: PageWriter;
  readonly uses: UseBook;
  readonly clock: Clock;
  /** Answers looked for at once. */
  readonly inFlight: number;
  /** What is there is not what its name tells. */
  readonly onRefused: (reason: string) => void;
}

/** The ids of answers beside the pages that were computed of them. */
export interface SaidShelf {
  /** Known ones cost nothing. */
  keep(scope: string, said: readonly SaidIds[]): Promise<void>;
  /**
   * Looks for all at once. What is missing, bad or late is not taken, and never fails.
   * @throws the signal's reason
   */
  fetch(
    scope: string,
    wanted: readonly WantedIds[],
    deadlineMs: number,
    signal?: AbortSignal,
  ): Promise<void>;
  /** @throws ServeError of the store; the signal's reason */
  forget(content: KvContent, kept: readonly KvContent[], signal?: AbortSignal): Promise<void>;
}

export function createSaidShelf(options: SaidShelfOptions): SaidShelf {
  const { store, codec, writer, uses, clock, inFlight } = options;

  async function fetchOne(scope: string, wanted: WantedIds, within: AbortSignal): Promise<void> {
    // Of its own, since many reads listen at once.
    const signal = AbortSignal.any([within]);
    const name = await codec.nameOf(scope, wanted.key);
    const { key } = name;
    const info = await headOrNull(store, key, signal);
    if (info === null) return;
    const refuse = (reason: string): void => {
      options.onRefused(reason);
      writer.forget(key);
    };
    // No lie makes this process ask for more memory than the text can need.
    if (info.sizeBytes > saidObjectBytes(wanted.maxIds)) return refuse('other content');
    const bytes = new Uint8Array(info.sizeBytes);
    try {
      await abortable(store.read(key, 0, bytes, signal), signal);
    } catch {
      signal.throwIfAborted();
      return options.onRefused('unreadable');
    }
    const ids = await codec.decode(bytes, name);
    signal.throwIfAborted();
    if (isRefused(ids)) return refuse(ids.refusal);
    if (!wanted.take(ids)) return refuse('other content');
    writer.saw(key, info.sizeBytes);
    uses.use(key);
  }

  return {
    async keep(scope, said) {
      for (const { key, ids } of said) {
        const name = await codec.nameOf(scope, key);
        writer.enqueueObject(name.key, await codec.encode(ids, name));
      }
    },
    async fetch(scope, wanted, deadlineMs, signal) {
      const task = async (index: number, within: AbortSignal): Promise<void> => {
        const each = wanted[index];
        if (each !== undefined) await fetchOne(scope, each, within);
      };
      const lanes = (within: AbortSignal): Promise<void> =>
        runBounded(wanted.length, inFlight, task, within);
      await withinMs(clock, deadlineMs, lanes, signal);
    },
    async forget(content, kept, signal) {
      const staying = new Set(kept.flatMap(({ said }) => said ?? []));
      for (const said of content.said ?? []) {
        if (staying.has(said)) continue;
        const { key } = await codec.nameOf(content.scope, said);
        await store.remove(key, signal);
        writer.saw(key, null);
      }
    },
  };
}
