/** The part of the layers that is loaded after the head: one in so many. */
const TAIL_PART = 4;

/**
 * In what order weights are wanted: layers, so that a waiting prompt runs through the first while the
 * rest comes; the head before the last few layers, because it is large, nothing runs through it
 * meanwhile, and what comes last is what is waited for.
 * @returns how many layers come before the head
 */
export function layersBeforeHead(layerCount: number): number {
  return layerCount - Math.ceil(layerCount / TAIL_PART);
}
