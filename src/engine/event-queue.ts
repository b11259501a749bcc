/** Events of one producer for one reader; the producer looks at `isFull` before it makes more. */
export interface EventQueue<T> {
  /** Whether the reader is behind by `limit` events or more. */
  readonly isFull: boolean;
  push(event: T): void;
  /** No more events; the reader still gets those it has not read. */
  end(): void;
  /** As `end`, then the reader's `next` rejects with `error`. */
  fail(error: unknown): void;
  /** Drops unread events; the reader's `next` rejects with `reason` at once. */
  abort(reason: unknown): void;
  /** The next event, or null after the end. One call at a time. */
  next(): Promise<T | null>;
}

/**
 * @param limit events after which the queue counts as full
 * @param onRoom called when the reader takes an event from a full queue
 */
export function createEventQueue<T>(limit: number, onRoom: () => void): EventQueue<T> {
  let events: T[] = [];
  let end: { readonly error: unknown; readonly isError: boolean } | null = null;
  let reader: { resolve(event: T | null): void; reject(error: unknown): void } | null = null;

  function close(isError: boolean, error: unknown): void {
    if (end !== null) return;
    end = { error, isError };
    const waiting = reader;
    reader = null;
    if (isError) waiting?.reject(error);
    else waiting?.resolve(null);
  }

  return {
    get isFull() {
      return events.length >= limit;
    },
    push(event) {
      if (end !== null) return;
      if (reader === null) {
        events.push(event);
        return;
      }
      const waiting = reader;
      reader = null;
      waiting.resolve(event);
    },
    end: () => close(false, null),
    fail: (error) => close(true, error),
    abort(reason) {
      events = [];
      if (end === null) close(true, reason);
      else end = { error: reason, isError: true };
    },
    next() {
      if (events.length > 0) {
        const wasFull = events.length >= limit;
        const event = events.shift() as T;
        if (wasFull && events.length < limit) onRoom();
        return Promise.resolve(event);
      }
      if (end !== null) return end.isError ? Promise.reject(end.error) : Promise.resolve(null);
      return new Promise((resolve, reject) => {
        reader = { resolve, reject };
      });
    },
  };
}
