import type { Clock } from '../../lib/clock.ts';
import type { KvMemory } from '../kv/kv-memory.ts';
import type { Placement } from '../kv/rows.ts';
import type { Sequence } from '../sequence.ts';
import { chooseFairVictim, chooseVictim } from './preempt.ts';
import type { ServiceMeter } from './service-meter.ts';
import type { TenantRank, WaitingLine } from './waiting-line.ts';

export interface RowGiverOptions {
  readonly kv: KvMemory;
  readonly line: WaitingLine<Sequence>;
  readonly service: ServiceMeter;
  readonly clock: Clock;
  /** Milliseconds after which a running sequence makes way for a waiting one; may be Infinity. */
  readonly sliceMs: number;
  /** Whether a sequence that loses its row keeps what it computed. */
  readonly keepsPages: boolean;
  /** Sequences that have a row now. */
  readonly running: () => readonly Sequence[];
  /** Takes the sequence among the running ones and brings in what is reused. */
  readonly seat: (sequence: Sequence, placement: Placement) => Promise<void>;
  /** Takes the row of a running sequence away, whose content may be worth saving. */
  readonly unseat: (victim: Sequence, isForFairness: boolean) => Promise<void>;
}

/** Waiting sequences passed over in one round because a running one computes their prefix right now. */
const LOOK_AHEAD = 32;

/**
 * Returns what gives rows to those who wait, in the order of the line. A row is taken from a reader that
 * stopped reading, from one that has run for its slice, or from a tenant that has more than its share.
 */
export function createRowGiver(options: RowGiverOptions): () => Promise<void> {
  const { kv, line, service, clock, keepsPages } = options;

  function rank(): TenantRank {
    const rows = new Map<string, number>();
    for (const { tenant } of options.running()) rows.set(tenant, (rows.get(tenant) ?? 0) + 1);
    return {
      rowsOf: (tenant) => rows.get(tenant) ?? 0,
      served: (tenant) => service.served(tenant),
    };
  }

  /** Makes a row idle for a sequence of this tenant; false where all may stay. */
  async function makeRoom(tenant: string, shares: TenantRank): Promise<boolean> {
    const running = options.running();
    const victim = chooseVictim(running, clock.now(), options.sliceMs);
    if (victim !== null) {
      await options.unseat(victim, false);
      return true;
    }
    const fair = chooseFairVictim(running, tenant, { ...shares, keepsPages });
    if (fair === null) return false;
    await options.unseat(fair, true);
    return true;
  }

  return async () => {
    /** Whose prefix is promised, by a sequence that runs. */
    const passed = new Set<Sequence>();
    while (passed.size < LOOK_AHEAD) {
      const shares = rank();
      const next = line.candidates(shares).find((sequence) => !passed.has(sequence));
      if (next === undefined) return;
      if (!kv.hasIdleRow && !(await makeRoom(next.tenant, shares))) return;
      // Making room took a moment, in which it may have been cancelled.
      if (next.outcome !== null) continue;
      const placement = kv.find(next);
      if (placement === null) return;
      if (kv.isPromised(next, options.running(), placement.cachedTokens)) {
        passed.add(next);
        continue;
      }
      line.remove(next);
      await options.seat(next, placement);
    }
  };
}
