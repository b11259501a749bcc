import type { PreparedPrompt } from '../engine/engine.ts';
import { abortable } from '../lib/abortable.ts';
import { derivedName, isLaterTurn, sessionName } from './session-name.ts';
import type { SessionTable } from './session-table.ts';

/** Where one request goes by: its conversation's name and what is known of where that was. */
export interface Place {
  /** null: any replica will do. */
  readonly session: string | null;
  /** By which the pin is learned; also of conversations that are not yet known to go on. */
  readonly learnAs: string | null;
  pin: string | null;
  /** Tells the other choices that this one's prompt is computed, or never will be. */
  begun(): void;
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
  /**
   * Of several choices the first goes ahead, since the others reuse its prompt, and the answer reports on
   * its cache.
   * @throws the signal's reason on abort
   */
  open(prompt: PreparedPrompt, signal?: AbortSignal): Promise<Place>;
}

interface Shared {
  readonly place: Promise<OpenPlace>;
  readonly firstBegun: Promise<void>;
  readonly onFirstBegun: () => void;
  users: number;
}

type OpenPlace = Omit<Place, 'begun'>;

export function createPlaces(options: PlacesOptions): Places {
  const { sessions, key, tokensPerImage } = options;
  const shared = new WeakMap<PreparedPrompt, Shared>();

  async function named(tenant: string, id: string, signal?: AbortSignal): Promise<OpenPlace> {
    const session = await sessionName(key, tenant, id);
    const lease = await sessions.begin(session, signal);
    const place: OpenPlace = {
      session,
      learnAs: session,
      pin: lease.pin,
      release: () => lease.release(place.pin),
    };
    return place;
  }

  async function unnamed(prompt: PreparedPrompt, signal?: AbortSignal): Promise<OpenPlace> {
    const learnAs = await derivedName(key, prompt, tokensPerImage);
    const session = isLaterTurn(prompt) ? learnAs : null;
    const { remembersUnnamed } = options;
    const before =
      remembersUnnamed && session !== null ? await sessions.pin(session, signal) : null;
    const place: OpenPlace = {
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

  function start(prompt: PreparedPrompt, signal?: AbortSignal): Shared {
    const { session } = prompt;
    const place =
      session === null || session === undefined
        ? unnamed(prompt, signal)
        : named(session.tenant, session.id, signal);
    let onFirstBegun = (): void => undefined;
    const firstBegun = new Promise<void>((resolve) => {
      onFirstBegun = resolve;
    });
    return { place, firstBegun, onFirstBegun, users: 0 };
  }

  return {
    async open(prompt, signal) {
      const known = shared.get(prompt);
      const entry = known ?? start(prompt, signal);
      shared.set(prompt, entry);
      entry.users++;
      const leave = (): void => {
        if (known === undefined) entry.onFirstBegun();
        if (--entry.users === 0) shared.delete(prompt);
      };
      try {
        const place = await entry.place;
        if (known !== undefined) await abortable(entry.firstBegun, signal);
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
          begun: entry.onFirstBegun,
          async release() {
            if (isReleased) return;
            isReleased = true;
            leave();
            if (entry.users === 0) await place.release();
          },
        };
      } catch (error) {
        leave();
        throw error;
      }
    },
  };
}
