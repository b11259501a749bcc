import { ServeError } from '../errors.ts';
import type { ModelLocation } from './model-location.ts';
import { checkObjectKey } from './object-key.ts';

/** How a location names its files and explains its refusals. */
export interface WebPlace {
  /** For messages; no credentials. */
  readonly name: string;
  /** The one origin that may see the token. */
  readonly origin: string;
  readonly isHub: boolean;
  urlOf(key: string): URL;
  /** The hub's list of files; null elsewhere. */
  readonly listUrl: () => URL | null;
  /** Fixes the revision: files of two commits never mix, whatever happens to the branch. */
  pin(commit: string): void;
  /** The error for a refusal or absence; null when it only means that the file is absent. */
  refusal(key: string, response: Response, hasToken: boolean): ServeError | null;
}

/** @param hubEndpoint origin of the hub or of a mirror */
export function webPlace(location: ModelLocation, hubEndpoint: string): WebPlace {
  return location.type === 'hub'
    ? hubPlace(location.repo, location.revision, new URL(hubEndpoint))
    : basePlace(location.url);
}

function basePlace(base: URL): WebPlace {
  const name = base.href.replace(/\/$/, '');
  return {
    name,
    origin: base.origin,
    isHub: false,
    urlOf: (key) => new URL(encodePath(checkObjectKey(key)), base),
    listUrl: () => null,
    pin: () => undefined,
    refusal: (key, { status }) =>
      status === 404 || status === 410
        ? null
        : unavailable(
            status === 401 || status === 403
              ? `${name} refused ${key} with status ${status}: check the token and its rights`
              : `${name} answered ${status} to ${key}`,
          ),
  };
}

function hubPlace(repo: string, asked: string, endpoint: URL): WebPlace {
  const name = `hf:${repo}${asked === 'main' ? '' : `@${asked}`}`;
  let revision = asked;
  return {
    name,
    origin: endpoint.origin,
    isHub: true,
    urlOf: (key) => {
      const path = `/${repo}/resolve/${encodeURIComponent(revision)}/${encodePath(checkObjectKey(key))}`;
      return new URL(path, endpoint);
    },
    listUrl: () => new URL(`/api/models/${repo}/tree/${encodeURIComponent(revision)}`, endpoint),
    pin: (commit) => {
      if (/^[0-9a-f]{40}$/.test(commit)) revision = commit;
    },
    refusal: (key, response, hasToken) => {
      const { status } = response;
      const reason = response.headers.get('x-error-code');
      const page = `${endpoint.origin}/${repo}`;
      if (reason === 'RevisionNotFound') {
        return unavailable(`${repo} has no revision ${asked}; see ${page}`);
      }
      if (status === 404) {
        return reason === 'RepoNotFound'
          ? unavailable(`${page} does not exist; check the spelling of org/name`)
          : null;
      }
      if (status === 401 || status === 403) {
        const consent = `accept the licence on ${page}, create a read token on ${endpoint.origin}/settings/tokens and set HF_TOKEN`;
        return unavailable(
          hasToken
            ? `The hub refused ${repo} (${status}): the token's account has no access. Its owner must ${consent}`
            : `The hub refused ${repo} (${status}): the model is gated, private or misspelt. To use Gemma, ${consent}`,
        );
      }
      return unavailable(`${page} answered ${status} to ${key}`);
    },
  };
}

function encodePath(key: string): string {
  return key.split('/').map(encodeURIComponent).join('/');
}

function unavailable(message: string): ServeError {
  return new ServeError('weights_unavailable', message);
}
