/** A map that forgets what was not touched for longest once it holds more than `maxEntries`. */
export interface BoundedMap<Value> {
  /** What is kept under a name, which is thereby touched. */
  get(name: string): Value | undefined;
  set(name: string, value: Value): void;
}

export function createBoundedMap<Value>(maxEntries: number): BoundedMap<Value> {
  const entries = new Map<string, Value>();
  const set = (name: string, value: Value): void => {
    entries.delete(name);
    entries.set(name, value);
    if (entries.size <= maxEntries) return;
    const [oldest] = entries.keys();
    if (oldest !== undefined) entries.delete(oldest);
  };
  return {
    set,
    get(name) {
      const value = entries.get(name);
      if (value !== undefined) set(name, value);
      return value;
    },
  };
}
