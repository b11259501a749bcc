import type { PreparedPrompt } from '../engine/engine.ts';
import { ServeError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import { sha256Hex } from '../lib/sha256-hex.ts';

/**
 * Requests that took down whoever computed them. One that two replicas were lost with is not sent to a third:
 * a single caller must not be able to take down a fleet.
 */
export interface LostCalls {
  /** @throws ServeError invalid_request for a prompt that was noted lately */
  refuse(prompt: PreparedPrompt): Promise<void>;
  note(prompt: PreparedPrompt): Promise<void>;
}

const KEPT_MS = 10 * 60_000;
const MAX_NAMES = 1_000;

export function createLostCalls(clock: Clock): LostCalls {
  /** When each is forgotten, oldest first. */
  const names = new Map<string, number>();

  function forgetOld(): void {
    for (const [name, endMs] of names) {
      if (endMs > clock.now() && names.size <= MAX_NAMES) break;
      names.delete(name);
    }
  }

  return {
    async refuse(prompt) {
      forgetOld();
      // Almost always: then nothing is hashed.
      if (names.size === 0 || !names.has(await nameOf(prompt))) return;
      throw new ServeError(
        'invalid_request',
        `Two replicas were lost while they worked on this very request, so it is not tried again for ${KEPT_MS / 60_000} minutes. Change it, or look at the replicas' logs.`,
      );
    },
    async note(prompt) {
      names.set(await nameOf(prompt), clock.now() + KEPT_MS);
      forgetOld();
    },
  };
}

/** Tokens, pictures and whose it is: what the replicas had to work on. */
function nameOf({ tokens, images, scope, tenant = '' }: PreparedPrompt): Promise<string> {
  const rest = images.map(({ position, image }) => `${position} ${image.sha256}`);
  const head = new TextEncoder().encode(JSON.stringify([tenant, scope, ...rest]));
  const bytes = new Uint8Array(head.length + tokens.byteLength);
  bytes.set(head);
  bytes.set(new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength), head.length);
  return sha256Hex(bytes);
}
