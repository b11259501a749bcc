/**
 * What each tenant has been given lately, in units of about one prompt token's work. Tenants are served
 * by it as in virtual token counting (Sheng et al., "Fairness in Serving Large Language Models", 2024):
 * the one with the least goes first, and whoever comes back after a pause has saved up nothing.
 */
export interface ServiceMeter {
  /** A sequence of the tenant came in. */
  enter(tenant: string): void;
  /** One of them is over. */
  leave(tenant: string): void;
  charge(tenant: string, units: number): void;
  served(tenant: string): number;
  /** Sequences of the tenant that came in and are not over. */
  countOf(tenant: string): number;
}

/** About what a token costs that is decoded beside one that is read in a prompt. */
export const DECODE_UNITS = 4;

interface Account {
  count: number;
  units: number;
}

export function createServiceMeter(): ServiceMeter {
  const accounts = new Map<string, Account>();

  function leastOfActive(): number {
    let least = Number.POSITIVE_INFINITY;
    for (const { count, units } of accounts.values()) {
      if (count > 0 && units < least) least = units;
    }
    return Number.isFinite(least) ? least : 0;
  }

  return {
    enter(tenant) {
      const known = accounts.get(tenant);
      if (known !== undefined && known.count > 0) {
        known.count++;
        return;
      }
      const floor = leastOfActive();
      accounts.set(tenant, { count: 1, units: Math.max(known?.units ?? 0, floor) });
      // Those below the floor would be lifted to it anyway: nothing is left to remember of them.
      for (const [name, { count, units }] of accounts) {
        if (count === 0 && units <= floor) accounts.delete(name);
      }
    },
    leave(tenant) {
      const account = accounts.get(tenant);
      if (account === undefined) return;
      account.count--;
      // While nobody is here there is nobody to be fair to.
      if (Array.from(accounts.values()).every(({ count }) => count === 0)) accounts.clear();
    },
    charge(tenant, units) {
      const account = accounts.get(tenant);
      if (account !== undefined) account.units += units;
    },
    served: (tenant) => accounts.get(tenant)?.units ?? 0,
    countOf: (tenant) => accounts.get(tenant)?.count ?? 0,
  };
}
