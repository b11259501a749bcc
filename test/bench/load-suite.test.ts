import { existsSync } from 'node:fs';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { startServer } from '../../adapters/node/server.ts';
import { checkAnswers, leadAtDifference } from '../../infra/bench/load-check.ts';
import { streamChat } from '../../infra/bench/load-client.ts';
import { startLoadServer, type LoadServer } from '../../infra/bench/load-server.ts';
import { loadSessions } from '../../infra/bench/load-sessions.ts';
import { loadStreams } from '../../infra/bench/load-streams.ts';
import { LOAD_USAGE, runLoad } from '../../infra/bench/load-suite.ts';
import { trendOf } from '../../infra/bench/load-traffic.ts';

const ENTRY = new URL('../../dist/adapters/cli/main.js', import.meta.url);

/** A server that answers everything with an error. */
async function withBrokenServer(work: (server: LoadServer) => Promise<void>): Promise<void> {
  const app = { fetch: () => new Response('broken', { status: 500 }) };
  const server = await startServer({ app, port: 0 });
  try {
    await work({
      url: server.url,
      rssMb: () => null,
      stop: () => Promise.resolve(0),
      kill: () => Promise.resolve(),
      close: () => server.close(),
    });
  } finally {
    await server.close();
  }
}

function bytes(text: string): number[] {
  return Array.from(new TextEncoder().encode(text));
}

describe('load on the demo model', () => {
  beforeAll(() => {
    // `npm test` builds first; the server is what users start.
    expect(existsSync(ENTRY)).toBe(true);
  });

  it('serves more streams than slots without an error', async () => {
    const server = await startLoadServer(['--slots', '4', '--queue', '64'], ENTRY);
    try {
      const result = await loadStreams(server, 24, 2);
      expect(result).toMatchObject({ errors: 0, firstError: null });
      expect(result.requests).toBeGreaterThanOrEqual(24);
      expect(result.fairness).toBeGreaterThan(0);
      expect(result.memory.rssMb[0]).toBeGreaterThan(0);
    } finally {
      await server.close();
    }
    expect(server.rssMb()).toBeNull();
  });

  it('tells an answer that is not what the model says afresh', async () => {
    const server = await startLoadServer(['--slots', '2'], ENTRY);
    try {
      const messages = [{ role: 'user' as const, content: 'Hello!' }];
      const greedy = { max_tokens: 16, temperature: 0 };
      const { text } = await streamChat(server.url, messages, greedy);
      const served = [text, `${text} and more`, 'Something else'].map((said) => ({
        messages,
        text: said,
      }));
      const check = await checkAnswers(server.url, served, greedy);
      expect(check).toMatchObject({ checked: 3, equal: 1 });
      expect(check.different + check.nearTies).toBe(2);
      expect(check.different).toBeGreaterThan(0);
      expect(check.firstDifference).toContain(JSON.stringify(text));
    } finally {
      await server.close();
    }
  });

  it('answers sessions that come back as if they were new, though their pages had to go', async () => {
    // All of them together take more than this, and less than twice as much.
    const flags = ['--slots', '4', '--queue', '64', '--kv-budget', '8MB'];
    const server = await startLoadServer(flags, ENTRY);
    try {
      const options = { count: 24, turns: 3, concurrency: 12, limitSeconds: 60, checkEvery: 3 };
      const result = await loadSessions(server, options);
      expect(result).toMatchObject({ sessions: 24, requests: 72, errors: 0, firstError: null });
      expect(result.cachedShare[2]).toBeGreaterThan(0.5);
      expect(result.pages['restored']).toBeGreaterThan(0);
      expect(result.pages['evicted']).toBeGreaterThan(0);
      const { check } = result;
      expect(check).toMatchObject({ checked: 24, different: 0, firstDifference: null });
      console.info(`answers asked again: ${JSON.stringify(check)}`);
    } finally {
      await server.close();
    }
  });
});

describe('load on a server that fails', () => {
  it('stops each stream at its first error', async () => {
    await withBrokenServer(async (server) => {
      const result = await loadStreams(server, 8, 60);
      expect(result).toMatchObject({ requests: 0, errors: 8, firstError: 'Error: 500: broken' });
    });
  });

  it('stops each session at its first error', async () => {
    await withBrokenServer(async (server) => {
      const options = { count: 5, turns: 3, concurrency: 2, limitSeconds: 60, checkEvery: 1 };
      const result = await loadSessions(server, options);
      expect(result).toMatchObject({ sessions: 5, requests: 0, errors: 5, pages: {} });
      expect(result.check.checked).toBe(0);
    });
  });

  it('starts no session once the time is up', async () => {
    await withBrokenServer(async (server) => {
      const options = { count: 5, turns: 3, concurrency: 2, limitSeconds: 0, checkEvery: 1 };
      expect(await loadSessions(server, options)).toMatchObject({ sessions: 0, errors: 0 });
    });
  });
});

describe('what load says of answers and memory', () => {
  const fresh = {
    text: 'A cat é!',
    cachedTokens: 0,
    tokens: [
      { bytes: bytes('A'), lead: 1 },
      { bytes: bytes(' cat'), lead: 2 },
      { bytes: bytes(' é').slice(0, 2), lead: 3 },
      { bytes: bytes('é').slice(1), lead: 4 },
      { bytes: bytes('!'), lead: 5 },
      { bytes: [], lead: 6 },
    ],
  };

  it.each([
    ['A cat é!', null],
    ['A dog é!', 2],
    ['A cat è!', 4],
    ['A', 2],
    ['A cat é!!', 6],
  ])('finds where %j left the fresh answer', (text, lead) => {
    expect(leadAtDifference(text, fresh)).toBe(lead);
  });

  it('compares the end of a run with its middle, once it was long enough to have one', () => {
    expect(trendOf([1, 2, 3, 4, 5])).toBeNull();
    expect(trendOf([9, 9, 100, 100, 110, 110])).toBe(1.1);
    expect(trendOf([1, 50, 200, 200, 200, 200, 200])).toBe(1);
  });

  it('prints its options when asked, and runs nothing', async () => {
    const log = vi.spyOn(console, 'log').mockReturnValue();
    await runLoad(['--help']);
    expect(log.mock.calls).toEqual([[LOAD_USAGE]]);
    log.mockRestore();
  });

  it.each([
    [['--streams', 'many'], "--streams takes a whole number from 0, not 'many'"],
    [['--turns', '0'], "--turns takes a whole number from 1, not '0'"],
  ])('refuses %j before it starts anything', async (args, message) => {
    await expect(runLoad(args)).rejects.toThrow(message);
  });
});
