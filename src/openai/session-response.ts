import type { SessionPage, SessionReport } from '../sessions/session.ts';

/** A session as clients see it; times are seconds since 1970. */
export function sessionBody(session: SessionReport): object {
  const { places } = session;
  return {
    object: 'session',
    id: session.id,
    created_at: seconds(session.createdMs),
    last_used_at: seconds(session.usedMs),
    expires_at: seconds(session.expiresMs),
    turns: session.turns,
    tokens: session.tokens,
    images: session.imageCount,
    saved_tokens: session.savedTokens,
    metadata: session.metadata,
    parent: session.parent,
    tiers: {
      device: { tokens: places.deviceTokens },
      host: { tokens: places.hostTokens, bytes: places.hostBytes },
      store: { tokens: places.storeTokens, bytes: places.storeBytes },
    },
  };
}

/** A page of sessions, in the shape of OpenAI's lists. */
export function sessionListBody({ sessions, hasMore }: SessionPage): object {
  return {
    object: 'list',
    data: sessions.map(sessionBody),
    first_id: sessions[0]?.id ?? null,
    last_id: sessions.at(-1)?.id ?? null,
    has_more: hasMore,
  };
}

function seconds(ms: number): number {
  return Math.floor(ms / 1000);
}
