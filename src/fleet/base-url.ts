import { ServeError } from '../errors.ts';

/**
 * A replica's base URL, without a slash at its end; it may have a path.
 * @throws ServeError invalid_url
 */
export function baseUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw invalid('is no http or https URL');
  }
  // Not quoted: what is in the wrong place may be a key.
  if (url.username !== '' || url.password !== '') {
    throw invalid('has a user or password in it; send them by the option `headers`');
  }
  if (url.search !== '' || url.hash !== '' || /[?#]$/.test(text)) {
    throw invalid('has a query or fragment; leave it away');
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
}

function invalid(what: string): ServeError {
  return new ServeError('invalid_url', `The base URL of a replica ${what}.`, { param: 'url' });
}
