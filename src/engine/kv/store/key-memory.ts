/** Keys known to be in the store and how large they are there; the longest unseen are forgotten first. */
export interface KeyMemory {
  /** null: nothing is known. */
  sizeOf(key: string): number | null;
  learn(key: string, sizeBytes: number): void;
  forget(key: string): void;
}

export function createKeyMemory(limit: number): KeyMemory {
  const sizes = new Map<string, number>();
  return {
    sizeOf: (key) => sizes.get(key) ?? null,
    learn(key, sizeBytes) {
      sizes.delete(key);
      sizes.set(key, sizeBytes);
      for (const oldest of sizes.keys()) {
        if (sizes.size <= limit) return;
        sizes.delete(oldest);
      }
    },
    forget: (key) => void sizes.delete(key),
  };
}
