/** Lets one piece of work run at a time; more is refused, not queued. */
export interface Exclusive {
  /** @throws TypeError while work runs */
  assertIdle(): void;
  /**
   * Starts `work` at once and is busy until it settles.
   * @throws TypeError while other work runs
   */
  run<T>(work: () => Promise<T>): Promise<T>;
  /** Resolves when no work runs; never rejects. */
  settled(): Promise<void>;
}

/** @param description who is busy, for messages: "the printer" */
export function createExclusive(description: string): Exclusive {
  let running: Promise<unknown> | null = null;

  function assertIdle(): void {
    if (running !== null) throw new TypeError(`${description} is busy with another call`);
  }

  return {
    assertIdle,
    async run<T>(work: () => Promise<T>): Promise<T> {
      assertIdle();
      const turn = work();
      running = turn.catch(() => undefined);
      try {
        return await turn;
      } finally {
        running = null;
      }
    },
    async settled() {
      await running;
    },
  };
}
