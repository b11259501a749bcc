import type { Sha256 } from '../lib/sha256-hex.ts';
import { encodeSession, parseSession } from './session-json.ts';
import type { Session } from './session.ts';

/** Of sealed files; plain ones have 1. */
const VERSION = 2;

/**
 * A session as bytes that prove who wrote them, and where they belong. Its tenant, which is a hash of an API
 * key, is left out: whoever loads the file knows it.
 * @param hash keyed
 */
export async function sealSession(
  session: Session,
  place: string,
  hash: Sha256,
): Promise<Uint8Array> {
  const { tenant, content, branches } = session;
  const isOwn = [content, ...branches].every(({ scope }) => scope.startsWith(tenant));
  const within = <T extends { readonly scope: string }>(each: T): T => ({
    ...each,
    scope: each.scope.slice(tenant.length),
  });
  const bare: Session = isOwn
    ? { ...session, tenant: '', content: within(content), branches: branches.map(within) }
    : session;
  const body = new TextDecoder().decode(encodeSession(bare));
  const mac = await macOf(body, place, hash);
  return new TextEncoder().encode(JSON.stringify({ version: VERSION, mac, body }));
}

/** @throws TypeError for what `sealSession` did not write there with this key; its message quotes nothing */
export async function openSession(
  value: unknown,
  tenant: string,
  place: string,
  hash: Sha256,
): Promise<Session> {
  const { version, mac, body } = (value ?? {}) as Readonly<Record<string, unknown>>;
  const isSealed = version === VERSION && typeof mac === 'string' && typeof body === 'string';
  if (!isSealed || mac !== (await macOf(body, place, hash))) {
    throw new TypeError('the stored session was not written with the key of this server');
  }
  const session = parseSession(JSON.parse(body));
  if (session.tenant !== '') return session;
  const outside = <T extends { readonly scope: string }>(each: T): T => ({
    ...each,
    scope: tenant + each.scope,
  });
  const { content, branches } = session;
  return { ...session, tenant, content: outside(content), branches: branches.map(outside) };
}

async function macOf(body: string, place: string, hash: Sha256): Promise<string> {
  return hash(new TextEncoder().encode(JSON.stringify([place, body])));
}
