import { commonPrefix } from '../engine/kv/content.ts';
import type { KvContent } from '../engine/kv/kv-store.ts';
import type { Session } from './session.ts';

/** Contents of a session beside its latest; older ones are forgotten. */
const MAX_BRANCHES = 3;

export interface NextContents {
  readonly content: KvContent;
  readonly branches: readonly KvContent[];
  /** What the session held before and holds no more. */
  readonly outdated: readonly KvContent[];
}

/** Everything whose keys and values are there for the sake of a session. */
export function contentsOf({ content, branches }: Session): readonly KvContent[] {
  return [content, ...branches];
}

/**
 * Puts what a turn left before what a session held. A turn that goes on from a content replaces it;
 * side turns of a client, choices and edited messages do not, and stay as branches.
 */
export function nextContents(content: KvContent, before: readonly KvContent[]): NextContents {
  const others = before.filter((old) => !extendsContent(content, old));
  return {
    content,
    branches: others.slice(0, MAX_BRANCHES),
    outdated: others.slice(MAX_BRANCHES),
  };
}

/** Whether `content` begins with all of `start`, images included. */
function extendsContent(content: KvContent, start: KvContent): boolean {
  const length = start.words.length;
  return (
    content.scope === start.scope &&
    commonPrefix(content.words, start.words, length) === length &&
    start.images.every(({ position, sha256 }, index) => {
      const image = content.images[index];
      return image?.position === position && image.sha256 === sha256;
    })
  );
}
