import type { Context } from 'hono';
import ipaddr from 'ipaddr.js';
import type { AppEnv } from '../app-env.ts';

/** Whoever has one IPv6 address has 2^64 of them. */
const IPV6_HEX_GROUPS = 4;

/**
 * Where a request comes from, an IPv4 address or the /64 of an IPv6 one; null where nobody says. Behind
 * `proxies` reverse proxies it is that many from the right of `x-forwarded-for`: what stands further left
 * anyone can write.
 */
export function clientNetwork(c: Context<AppEnv>, proxies: number): string | null {
  const direct = (c.env as AppEnv['Bindings'] | undefined)?.clientAddress ?? null;
  if (proxies === 0) return networkOf(direct);
  const hops = (c.req.header('x-forwarded-for') ?? '').split(',');
  return networkOf(hops.at(-proxies)?.trim() ?? null) ?? networkOf(direct);
}

function networkOf(address: string | null): string | null {
  if (address === null || !ipaddr.isValid(address)) return null;
  // Without the IPv6 form that sockets of both kinds give to IPv4 addresses.
  const parsed = ipaddr.process(address);
  if (!(parsed instanceof ipaddr.IPv6)) return parsed.toString();
  return parsed.parts
    .slice(0, IPV6_HEX_GROUPS)
    .map((part) => part.toString(16))
    .join(':');
}
