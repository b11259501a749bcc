/** Simulated time: what is to happen, in order of time, then of being planned. */
export interface EventLine {
  now(): number;
  /** @param atMs not before now */
  at(atMs: number, run: () => void): void;
  /** Runs until nothing is planned. */
  run(): void;
}

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export function createEventLine(): EventLine {
  const heap: Event[] = [];
  let nowMs = 0;
  let order = 0;

  function isBefore(a: Event, b: Event): boolean {
    return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
  }

  function push(event: Event): void {
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as Event;
      if (!isBefore(event, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  function pop(): Event | undefined {
    const first = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return first;
    let at = 0;
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      const right = heap[child + 1];
      if (right !== undefined && isBefore(right, heap[child] as Event)) child++;
      if (!isBefore(heap[child] as Event, last)) break;
      heap[at] = heap[child] as Event;
      at = child;
    }
    heap[at] = last;
    return first;
  }

  return {
    now: () => nowMs,
    at: (atMs, run) => push({ atMs: Math.max(atMs, nowMs), order: order++, run }),
    run() {
      for (let event = pop(); event !== undefined; event = pop()) {
        nowMs = event.atMs;
        event.run();
      }
    },
  };
}
