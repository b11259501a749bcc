import type { SafeRequest } from './safe-fetch.ts';

/**
 * A {@link SafeRequest} over the runtime's `fetch`, for edge runtimes, where names are resolved out
 * of reach: it relies on the platform's network not leading anywhere private, as Cloudflare's does.
 * Do not use it where `fetch` can reach machines that users must not: Node.js has its own.
 */
export function createEdgeRequest(send: typeof fetch = fetch): SafeRequest {
  return async (url, { headers, body, signal }) => {
    const response = await send(url, {
      ...(body === undefined ? {} : { method: 'POST', body }),
      headers,
      signal,
      redirect: 'manual',
    });
    const stream = response.body;
    return {
      status: response.status,
      header: (name) => response.headers.get(name),
      body: readChunks(stream),
      close(): void {
        // Fails while a reader holds it; that one cancels it itself.
        stream?.cancel().catch(() => undefined);
      },
    };
  };
}

async function* readChunks(
  body: ReadableStream<Uint8Array> | null,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (body === null) return;
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    // Also when the consumer leaves early: nothing more is downloaded.
    reader.cancel().catch(() => undefined);
  }
}
