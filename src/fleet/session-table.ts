/**
 * Where conversations last were. Names are those of `sessionName`, pins those of the fleet's affinity;
 * neither means anything here. What is forgotten costs a cache miss, never an answer.
 */
export interface SessionTable {
  /** null where none is known. */
  pin(session: string, signal?: AbortSignal): Promise<string | null>;
  /** Keeps a pin until the session was idle for the table's time to live; null forgets it. */
  keep(session: string, pin: string | null): Promise<void>;
  /**
   * Waits until no other turn of the session runs, and begins one: two at once would fork its cache.
   * Whoever dies without `release` holds it only until its lease runs out.
   * @throws the signal's reason on abort
   */
  begin(session: string, signal?: AbortSignal): Promise<SessionLease>;
}

export interface SessionLease {
  /** Of the session when the turn began. */
  readonly pin: string | null;
  /** Ends the turn and keeps its pin; only the first call counts. Never rejects. */
  release(pin: string | null): Promise<void>;
}
