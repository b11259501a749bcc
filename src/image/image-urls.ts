import type { UrlPolicy } from './safe-url.ts';

const HOST = /^(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)+$/;

/**
 * Reads which URLs of pictures an operator wants to be fetched: `on` (or `true`), `off` (or `false`), or the
 * hosts to fetch from, separated by commas: names, or `*.example.com` for all names below.
 * @returns null for none
 * @throws RangeError that says how to write it
 */
export function parseImageUrls(text: string): UrlPolicy | null {
  const hosts = text
    .split(',')
    .map((host) => host.trim().toLowerCase())
    .filter((host) => host !== '');
  const [only = ''] = hosts.length === 1 ? hosts : [];
  if (only === 'on' || only === 'true') return {};
  if (only === 'off' || only === 'false') return null;
  if (hosts.length === 0 || !hosts.every((host) => HOST.test(host))) {
    throw new RangeError('must be on, off, or hosts such as example.com,*.example.org');
  }
  return { allowHosts: hosts };
}
