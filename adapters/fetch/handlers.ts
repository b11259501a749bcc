/** Anything with a fetch handler, such as what createApp returns. */
export interface FetchApp {
  fetch(request: Request): Response | Promise<Response>;
}

/** An app for platforms that call a function of the request. */
export type FetchHandler = (request: Request) => Promise<Response>;

export interface FetchHandlers {
  /** For a default export: of `{ fetch }` on Vercel, of the function itself on Netlify. */
  readonly fetch: FetchHandler;
  /** For named exports, as in route files of Next.js. */
  readonly GET: FetchHandler;
  readonly HEAD: FetchHandler;
  readonly POST: FetchHandler;
  readonly PUT: FetchHandler;
  readonly DELETE: FetchHandler;
  readonly OPTIONS: FetchHandler;
}

/**
 * The app in the shapes that function platforms ask for. Their instances may freeze or go once an
 * answer is sent, so `Prefer: respond-async` is not passed on and such answers come at once.
 * @example
 * export default { fetch: createFetchHandlers(createApp({ completer })).fetch }; // Vercel
 * export default createFetchHandlers(createApp({ completer })).fetch; // Netlify
 * export const { GET, POST, OPTIONS } = createFetchHandlers(createApp({ completer })); // Next.js
 */
export function createFetchHandlers(app: FetchApp): FetchHandlers {
  const handle: FetchHandler = async (request) => {
    if (!request.headers.has('prefer')) return app.fetch(request);
    const plain = new Request(request);
    plain.headers.delete('prefer');
    return app.fetch(plain);
  };
  return {
    fetch: handle,
    GET: handle,
    HEAD: handle,
    POST: handle,
    PUT: handle,
    DELETE: handle,
    OPTIONS: handle,
  };
}
