/**
 * Where weights come from. `null` means absent. Implementations: a folder (adapters/node), https and
 * the Hugging Face hub (src/weights/https-source.ts).
 */
export interface ObjectSource {
  /** For messages and logs, such as `file:/models/gemma` or `https://host/prefix`; no credentials. */
  readonly name: string;
  head(key: string, signal?: AbortSignal): Promise<ObjectInfo | null>;
  /**
   * Fills `target` with the bytes from `offset`; short or changed objects are an error, never a
   * partial result. Nothing is written to `target` once the promise has settled.
   */
  read(key: string, offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void>;
  /** Present where `head` is a request of its own: what it would answer for `key` is known. */
  expect?(key: string, info: ObjectInfo): void;
  /** Present where bytes are local: the same without waiting. */
  readSync?(key: string, offset: number, target: Uint8Array): void;
  /** Names of all objects, without order; absent where the source cannot tell. */
  list?(signal?: AbortSignal): Promise<readonly string[]>;
  close(): Promise<void>;
}

export interface ObjectInfo {
  readonly sizeBytes: number;
  /** Changes when the object does; null when the source cannot tell. */
  readonly etag: string | null;
}
