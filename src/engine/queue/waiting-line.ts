/** What the line needs to know of a sequence that waits for a row. */
export interface Waiter {
  /** Whose it is; '' where callers are not told apart. */
  readonly tenant: string;
  /** Its reader is behind: a row would be wasted on it. */
  readonly isPaused: boolean;
  /** It had a row before, and its reader has heard of it. */
  readonly isResuming: boolean;
}

/** How tenants compare when there is a row to give. */
export interface TenantRank {
  /** Rows it has now. */
  rowsOf(tenant: string): number;
  /** Work it was given lately. */
  served(tenant: string): number;
}

/**
 * Sequences without a row. Each tenant's own stand in the order in which they came; among tenants the
 * one with the fewest rows comes first, and of those the one that was served least.
 */
export interface WaitingLine<S extends Waiter> {
  /** All of them, tenant by tenant. */
  readonly all: readonly S[];
  /** Those that could use a row now. */
  readonly readyCount: number;
  /** Behind the tenant's others. */
  add(sequence: S): void;
  /** Before the tenant's others: it had a row and lost it. */
  putBack(sequence: S): void;
  /** false where it does not stand here. */
  remove(sequence: S): boolean;
  /** Those that could use a row, in the order in which they should get one; every tenant's first, then every second. */
  candidates(rank: TenantRank): S[];
  /**
   * The sequence that should give up its place for one of `tenant`: the newest of the tenant with the most
   * places, if that one has at least two more. Of those that had a row none.
   */
  displacedBy(tenant: string): S | null;
}

export function createWaitingLine<S extends Waiter>(): WaitingLine<S> {
  const lines = new Map<string, S[]>();
  const isReady = ({ isPaused }: S): boolean => !isPaused;

  function lineOf(tenant: string): S[] {
    let line = lines.get(tenant);
    if (line === undefined) lines.set(tenant, (line = []));
    return line;
  }

  return {
    get all() {
      return Array.from(lines.values()).flat();
    },
    get readyCount() {
      let count = 0;
      for (const line of lines.values()) count += line.filter(isReady).length;
      return count;
    },
    add: (sequence) => void lineOf(sequence.tenant).push(sequence),
    putBack: (sequence) => void lineOf(sequence.tenant).unshift(sequence),
    remove(sequence) {
      const line = lines.get(sequence.tenant);
      const at = line?.indexOf(sequence) ?? -1;
      if (line === undefined || at < 0) return false;
      line.splice(at, 1);
      if (line.length === 0) lines.delete(sequence.tenant);
      return true;
    },
    candidates(rank) {
      const ready = Array.from(lines, ([tenant, line]) => ({
        rows: rank.rowsOf(tenant),
        units: rank.served(tenant),
        line: line.filter(isReady),
      })).toSorted((a, b) => a.rows - b.rows || a.units - b.units);
      const longest = Math.max(0, ...ready.map(({ line }) => line.length));
      return Array.from({ length: longest }, (_, depth) =>
        ready.flatMap(({ line }) => line.slice(depth, depth + 1)),
      ).flat();
    },
    displacedBy(tenant) {
      let greediest: readonly S[] = [];
      for (const [name, line] of lines) {
        if (name === tenant) continue;
        const places = line.filter(isReady);
        if (places.length > greediest.length) greediest = places;
      }
      const own = (lines.get(tenant) ?? []).filter(isReady).length;
      if (greediest.length < own + 2) return null;
      return greediest.findLast(({ isResuming }) => !isResuming) ?? null;
    },
  };
}
