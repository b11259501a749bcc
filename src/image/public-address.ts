import ipaddr from 'ipaddr.js';

/** Public by range, but a metadata service inside its cloud. */
const NEVER = new Set([
  // Azure's wire server.
  '168.63.129.16',
]);
/** All global unicast IPv6 so far; what lies outside (such as ::a.b.c.d) is special or unassigned. */
const GLOBAL_UNICAST = ipaddr.IPv6.parseCIDR('2000::/3');

/**
 * Whether an IP address belongs to the public internet, judged by allowing only ordinary unicast:
 * not loopback, private, link-local, carrier-grade NAT, multicast, reserved or documentation, and
 * no IPv6 form that leads on to an IPv4 address (mapped, NAT64, 6to4, Teredo).
 * @param address an IPv4 or IPv6 literal without brackets; anything else is not public
 */
export function isPublicAddress(address: string): boolean {
  // A zone (fe80::1%eth0) names an interface of this machine.
  if (address.includes('%') || !ipaddr.isValid(address)) return false;
  const parsed = ipaddr.parse(address);
  if (parsed.range() !== 'unicast') return false;
  if (parsed instanceof ipaddr.IPv6) return parsed.match(GLOBAL_UNICAST);
  return !NEVER.has(parsed.toString());
}

/** Whether `host` is an IP literal, in any form the URL standard leaves after parsing. */
export function isAddress(host: string): boolean {
  return ipaddr.isValid(host);
}
