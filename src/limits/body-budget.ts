import { ServeError } from '../errors.ts';

/** Bytes of request bodies that are held at once, by all requests of a process. */
export interface BodyBudget {
  /** What one request holds; nothing yet. */
  lease(): BodyLease;
  /** Bytes held. */
  readonly heldBytes: number;
}

export interface BodyLease {
  readonly heldBytes: number;
  /**
   * Adds to what the request holds.
   * @param tenant who was let in; '' where everyone is
   * @throws ServeError overloaded where that is more than there is room for
   */
  add(sizeBytes: number, tenant: string): void;
  /** Gives all of it back; more than once is harmless. */
  release(): void;
}

/** Of a budget that several keys share, one key gets at most this part, so that there is room for others. */
const TENANT_SHARE = 1 / 2;
const RETRY_MS = 2_000;

export function createBodyBudget(maxBytes: number): BodyBudget {
  const byTenant = new Map<string, number>();
  let totalBytes = 0;

  return {
    get heldBytes() {
      return totalBytes;
    },
    lease() {
      let heldBytes = 0;
      let owner = '';
      return {
        get heldBytes() {
          return heldBytes;
        },
        add(sizeBytes, tenant) {
          const ownBytes = (byTenant.get(tenant) ?? 0) + sizeBytes;
          const ownMostBytes = tenant === '' ? maxBytes : maxBytes * TENANT_SHARE;
          if (totalBytes + sizeBytes > maxBytes || ownBytes > ownMostBytes) {
            throw new ServeError(
              'overloaded',
              'The requests that are read and answered now hold as many bytes as they may. Retry later, or send smaller requests.',
              { retryAfterMs: RETRY_MS, bound: 'maxBodiesBytes' },
            );
          }
          byTenant.set(tenant, ownBytes);
          totalBytes += sizeBytes;
          heldBytes += sizeBytes;
          owner = tenant;
        },
        release() {
          const left = (byTenant.get(owner) ?? 0) - heldBytes;
          if (left > 0) byTenant.set(owner, left);
          else byTenant.delete(owner);
          totalBytes -= heldBytes;
          heldBytes = 0;
        },
      };
    },
  };
}
