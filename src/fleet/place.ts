import type { PreparedPrompt } from '../engine/engine.ts';
import { derivedName, isLaterTurn, sessionName } from './session-name.ts';
import type { SessionTable } from './session-table.ts';

/** Where one request goes by: its conversation's name and what is known of where that was. */
export interface Place {
  /** null: any replica will do. */
  readonly session: string | null;
  /** By which the pin is learned; also of conversations that are not yet known to go on. */
  readonly learnAs: string | null;
  pin: string | null;
  /** Ends the turn and keeps the pin. Never rejects. */
  release(): Promise<void>;
}

export interface PlacesOptions {
  readonly sessions: SessionTable;
  /** The fleet's newest key. */
  readonly key: string;
  readonly tokensPerImage: number;
  /** Whether conversations without a name are remembered too. */
  readonly remembersUnnamed: boolean;
}

/** Opens places; the choices of one request, which have one prompt, share theirs. */
export interface Places {
  /** @throws the signal's reason on abort */
  open(prompt: PreparedPrompt, signal?: AbortSignal): Promise<Place>;
}

export function createPlaces(options: PlacesOptions): Places {
  const { sessions, key, tokensPerImage } = options;
  const shared = new WeakMap<PreparedPrompt, { readonly place: Promise<Place>; users: number }>();

  async function named(tenant: string, id: string, signal?: AbortSignal): Promise<Place> {
    const session = await sessionName(key, tenant, id);
    const lease = await sessions.begin(session, signal);
    const place: Place = {
      session,
      learnAs: session,
      pin: lease.pin,
      release: () => lease.release(place.pin),
    };
    return place;
  }

  async function unnamed(prompt: PreparedPrompt, signal?: AbortSignal): Promise<Place> {
    const learnAs = await derivedName(key, prompt, tokensPerImage);
    const session = isLaterTurn(prompt) ? learnAs : null;
    const { remembersUnnamed } = options;
    const before =
      remembersUnnamed && session !== null ? await sessions.pin(session, signal) : null;
    const place: Place = {
      session,
      learnAs: remembersUnnamed ? learnAs : session,
      pin: before,
      async release() {
        if (!remembersUnnamed || place.pin === before) return;
        await sessions.keep(learnAs, place.pin).catch(() => undefined);
      },
    };
    return place;
  }

  function start(prompt: PreparedPrompt, signal?: AbortSignal): Promise<Place> {
    const { session } = prompt;
    if (session === null || session === undefined) return unnamed(prompt, signal);
    return named(session.tenant, session.id, signal);
  }

  return {
    async open(prompt, signal) {
      const entry = shared.get(prompt) ?? { place: start(prompt, signal), users: 0 };
      shared.set(prompt, entry);
      entry.users++;
      try {
        const place = await entry.place;
        let isReleased = false;
        return {
          session: place.session,
          learnAs: place.learnAs,
          get pin() {
            return place.pin;
          },
          set pin(pin) {
            place.pin = pin;
          },
          async release() {
            if (isReleased) return;
            isReleased = true;
            if (--entry.users > 0) return;
            shared.delete(prompt);
            await place.release();
          },
        };
      } catch (error) {
        entry.users--;
        shared.delete(prompt);
        throw error;
      }
    },
  };
}
