/** Which pictures each replica was sent, so that they travel once. A guess: the replica says when it is wrong. */
export interface KnownImages {
  has(replica: string, sha256: string): boolean;
  add(replica: string, sha256: string): void;
  /** It lacks these after all. */
  remove(replica: string, sha256s: readonly string[]): void;
}

/** Pictures remembered in all; the oldest go first. */
const MAX_NAMES = 20_000;

export function createKnownImages(): KnownImages {
  const names = new Set<string>();
  return {
    has: (replica, sha256) => names.has(nameOf(replica, sha256)),
    add(replica, sha256) {
      names.add(nameOf(replica, sha256));
      for (const oldest of names) {
        if (names.size <= MAX_NAMES) break;
        names.delete(oldest);
      }
    },
    remove(replica, sha256s) {
      for (const sha256 of sha256s) names.delete(nameOf(replica, sha256));
    },
  };
}

function nameOf(replica: string, sha256: string): string {
  return `${sha256} ${replica}`;
}
