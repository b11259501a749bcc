/** What the store needs of a Cloudflare R2 binding; Cloudflare's own `R2Bucket` fits. */
export interface R2BucketLike {
  head(key: string): Promise<R2ObjectLike | null>;
  /** null when absent; without a body when `onlyIf` is not met. */
  get(
    key: string,
    options: {
      readonly onlyIf?: { readonly etagMatches?: string };
      readonly range: { readonly offset: number; readonly length: number };
    },
  ): Promise<R2ObjectLike | R2BodyLike | null>;
  /** null when `onlyIf` is not met. */
  put(
    key: string,
    value: Uint8Array,
    options: {
      readonly onlyIf?: { readonly etagDoesNotMatch?: string };
      readonly customMetadata?: Record<string, string>;
    },
  ): Promise<R2ObjectLike | null>;
  list(options: {
    readonly prefix?: string;
    readonly delimiter?: string;
    readonly cursor?: string;
  }): Promise<R2PageLike>;
  delete(key: string): Promise<void>;
}

export interface R2ObjectLike {
  readonly key: string;
  /** Of the whole object, in bytes. */
  readonly size: number;
  readonly etag: string;
  readonly uploaded?: Date;
  readonly customMetadata?: Record<string, string> | undefined;
}

export interface R2BodyLike extends R2ObjectLike {
  /** The range asked for. */
  readonly body: ReadableStream<Uint8Array>;
}

export interface R2PageLike {
  readonly objects: readonly R2ObjectLike[];
  readonly truncated: boolean;
  readonly cursor?: string | undefined;
}
