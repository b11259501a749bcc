import { ServeError } from '../errors.ts';
import { isAddress, isPublicAddress } from './public-address.ts';

/** Which URLs of users may be fetched. */
export interface UrlPolicy {
  /** Also take http URLs; off by default. */
  readonly allowHttp?: boolean;
  /** Ports; [443] by default, with 80 when http is allowed. */
  readonly ports?: readonly number[];
  /** When given, only these hosts: exact names, or `*.example.com` for all names below. */
  readonly allowHosts?: readonly string[];
  /** Never these, in the same forms. */
  readonly denyHosts?: readonly string[];
  /** Addresses to take although they are not public; none by default. For tests and own networks. */
  readonly allowAddress?: (address: string) => boolean;
}

/** Names that are answered inside a machine, cluster or local network. RFC 6761, 6762, 8375, 9476. */
const LOCAL_SUFFIXES = [
  'localhost',
  'localdomain',
  'local',
  'internal',
  'intranet',
  'private',
  'corp',
  'home',
  'lan',
  'svc',
  'consul',
  'home.arpa',
  'in-addr.arpa',
  'ip6.arpa',
  'test',
  'invalid',
  'onion',
  'alt',
];
const MAX_URL_CHARACTERS = 8192;

/**
 * Parses a URL and refuses whatever cannot be on the public internet by its spelling alone. Where
 * a name resolves to is only known when connecting: {@link isPublicAddress} must be asked again.
 * @throws ServeError invalid_url; its message repeats nothing of the URL, which may hold secrets
 */
export function checkUrl(text: string, policy: UrlPolicy = {}): URL {
  if (text.length > MAX_URL_CHARACTERS) {
    throw refuse(`is longer than ${MAX_URL_CHARACTERS} characters`, 'send a shorter one.');
  }
  let url: URL;
  try {
    url = new URL(text.trim());
  } catch (cause) {
    throw refuse(
      'is malformed',
      'send a complete URL, such as https://example.com/cat.png.',
      cause,
    );
  }
  checkScheme(url, policy);
  if (url.username !== '' || url.password !== '') {
    throw refuse('holds a user name or password', 'send one that anybody may fetch.');
  }
  checkHost(url, policy);
  return url;
}

/** The host of a URL as a resolver or an address parser takes it: no brackets, no final dot. */
export function hostOf(url: URL): string {
  return url.hostname
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '')
    .toLowerCase();
}

/** Whether an address may be connected to under `policy`. */
export function isAllowedAddress(address: string, policy: UrlPolicy): boolean {
  return isPublicAddress(address) || policy.allowAddress?.(address) === true;
}

function checkScheme(url: URL, policy: UrlPolicy): void {
  const isHttp = url.protocol === 'http:';
  if (url.protocol !== 'https:' && !isHttp) {
    throw refuse(
      // What is no scheme may be anything, such as the beginning of a prompt.
      /^(ftp|file|blob|s3|gs|wss?):$/.test(url.protocol)
        ? `starts with "${url.protocol}"`
        : 'does not start with https',
      'send an https URL or the image itself as a data URI.',
    );
  }
  if (isHttp && policy.allowHttp !== true) throw refuse('is not encrypted', 'use https.');
  const port = url.port === '' ? (isHttp ? 80 : 443) : Number(url.port);
  const ports = policy.ports ?? (policy.allowHttp === true ? [443, 80] : [443]);
  if (!ports.includes(port)) {
    throw refuse(`uses port ${port}`, `only ${ports.join(' and ')} may be used.`);
  }
}

function checkHost(url: URL, policy: UrlPolicy): void {
  const host = hostOf(url);
  if (isAddress(host)) {
    if (!isAllowedAddress(host, policy)) throw notPublic();
  } else if (!isPublicName(host)) {
    throw notPublic();
  }
  if (policy.denyHosts?.some((pattern) => matchesHost(host, pattern)) === true) {
    throw refuse('points to a host that this server does not fetch from', 'use another host.');
  }
  if (policy.allowHosts?.some((pattern) => matchesHost(host, pattern)) === false) {
    throw refuse(
      'points to a host that is not on the list this server fetches from',
      'use one of its hosts, or send the image itself as a data URI.',
    );
  }
}

/** Names of one label (`metadata`, `kubernetes`) are completed by the resolver's search list. */
function isPublicName(host: string): boolean {
  const isWhole = host.includes('.') && !host.startsWith('.') && !host.includes('..');
  // The URL parser turns every number it understands into an address; the rest is no name either.
  const looksLikeNumber = /(^|\.)(0x[0-9a-f]*|[0-9]+)$/.test(host);
  return (
    isWhole &&
    !host.endsWith('.') &&
    !looksLikeNumber &&
    !LOCAL_SUFFIXES.some((suffix) => host === suffix || host.endsWith(`.${suffix}`))
  );
}

function matchesHost(host: string, pattern: string): boolean {
  const name = pattern.toLowerCase();
  return name.startsWith('*.') ? host.endsWith(name.slice(1)) : host === name;
}

/** One wording for names and addresses alike, so that nobody can probe an internal network by it. */
export function notPublic(): ServeError {
  return refuse(
    'does not lead to a public internet address',
    'use a host that everybody can reach.',
  );
}

function refuse(what: string, instead: string, cause?: unknown): ServeError {
  return new ServeError('invalid_url', `The URL ${what}: ${instead}`, { cause });
}
