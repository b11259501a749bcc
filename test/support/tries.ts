import { expect, type TestContext } from 'vitest';

declare module 'vitest' {
  interface TaskMeta {
    /** Attacks that a test made, for the table at the end of a run. */
    tries?: { readonly tried: number; readonly broken: number };
  }
}

/** Counts attacks of one test, each held or not. */
export interface Tries {
  readonly note: (attack: string, isHeld: boolean) => void;
  /** Fails when one was not held, and names it. */
  readonly end: () => void;
}

/** One test for hundreds of attacks of a kind: a test each would drown the report of a run. */
export function countTries({ task }: Pick<TestContext, 'task'>): Tries {
  let tried = 0;
  const broken: string[] = [];
  return {
    note(attack, isHeld) {
      tried++;
      if (!isHeld) broken.push(attack);
    },
    end() {
      task.meta.tries = { tried, broken: broken.length };
      expect(broken).toEqual([]);
      expect(tried).toBeGreaterThan(0);
    },
  };
}
