import { ServeError } from '../errors.ts';

/** Where a model lies on the web. */
export type ModelLocation =
  | {
      readonly type: 'hub';
      /** `org/name` */
      readonly repo: string;
      /** Branch, tag or commit. */
      readonly revision: string;
    }
  | {
      readonly type: 'base';
      /** Ends with `/`; file names are appended. */
      readonly url: URL;
    };

const HUB_HOSTS: ReadonlySet<string> = new Set(['huggingface.co', 'www.huggingface.co', 'hf.co']);
const HUB_SHORT = /^hf:(?:\/\/)?(\w[\w.-]*\/\w[\w.-]*)(?:@([\w./-]+))?$/;

/**
 * Understands `hf:org/name[@revision]`, pages of the Hugging Face hub, and any folder on the web
 * as `https://host/path/`.
 * @param allowHttp also take http, for loopback servers in tests
 * @throws ServeError invalid_url
 */
export function parseModelLocation(location: string, allowHttp = false): ModelLocation {
  if (location.startsWith('hf:')) {
    const [, repo, revision = 'main'] = HUB_SHORT.exec(location) ?? [];
    if (repo !== undefined) return { type: 'hub', repo, revision };
    throw invalid('a hub model is written hf:org/name or hf:org/name@revision');
  }
  let url: URL;
  try {
    url = new URL(location);
  } catch (error) {
    throw invalid('it must be hf:org/name or https://host/path/', error);
  }
  if (url.protocol !== 'https:' && !(allowHttp && url.protocol === 'http:')) {
    throw invalid(`${url.protocol} is not served from; use https`);
  }
  if (url.username !== '' || url.password !== '') {
    throw invalid('it must not hold a user name or password; pass a token instead');
  }
  if (HUB_HOSTS.has(url.hostname)) return parseHubPage(url);
  if (url.search !== '' || url.hash !== '') {
    throw invalid('it must not have a query: file names are appended to it');
  }
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return { type: 'base', url };
}

/** /org/name, /org/name/tree/revision, /org/name/resolve/revision */
function parseHubPage(url: URL): ModelLocation {
  const [org, name, view, ...rest] = url.pathname.split('/').filter((part) => part !== '');
  const isView = view === undefined || view === 'tree' || view === 'resolve' || view === 'blob';
  if (org === undefined || name === undefined || !isView) {
    throw invalid('a hub model page is https://huggingface.co/org/name');
  }
  const revision = view === 'tree' ? rest.join('/') : (rest[0] ?? '');
  return { type: 'hub', repo: `${org}/${name}`, revision: revision === '' ? 'main' : revision };
}

function invalid(problem: string, cause?: unknown): ServeError {
  return new ServeError('invalid_url', `This is not the location of a model: ${problem}`, {
    cause,
  });
}
