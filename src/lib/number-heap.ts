/** A binary min-heap of numbers in one growing Float64Array. */
export interface NumberHeap {
  readonly size: number;
  push(value: number): void;
  /** Removes and returns the smallest; NaN when empty. */
  pop(): number;
  clear(): void;
}

export function createNumberHeap(capacity = 64): NumberHeap {
  let values = new Float64Array(capacity);
  let size = 0;

  return {
    get size() {
      return size;
    },
    push(value) {
      if (size === values.length) {
        const grown = new Float64Array(size * 2);
        grown.set(values);
        values = grown;
      }
      let at = size++;
      while (at > 0) {
        const parent = (at - 1) >> 1;
        const above = values[parent] as number;
        if (above <= value) break;
        values[at] = above;
        at = parent;
      }
      values[at] = value;
    },
    pop() {
      if (size === 0) return Number.NaN;
      const smallest = values[0] as number;
      const last = values[--size] as number;
      let at = 0;
      for (let child = 1; child < size; child = 2 * at + 1) {
        if (child + 1 < size && (values[child + 1] as number) < (values[child] as number)) child++;
        const below = values[child] as number;
        if (below >= last) break;
        values[at] = below;
        at = child;
      }
      values[at] = last;
      return smallest;
    },
    clear() {
      size = 0;
    },
  };
}
