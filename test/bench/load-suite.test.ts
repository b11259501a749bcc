import { existsSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadSessions, loadStreams } from '../../infra/bench/load-suite.ts';
import { startLoadServer } from '../../infra/bench/load-server.ts';

const ENTRY = new URL('../../dist/adapters/cli/main.js', import.meta.url);

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
    } finally {
      await server.close();
    }
  });

  it('reuses more with every turn of sessions that come back', async () => {
    const flags = ['--slots', '4', '--queue', '64', '--kv-budget', '16MB'];
    const server = await startLoadServer(flags, ENTRY);
    try {
      const result = await loadSessions(server, 24, 3, 12);
      expect(result).toMatchObject({ errors: 0, firstError: null, requests: 72 });
      expect(result.cachedShare[2]).toBeGreaterThan(0.5);
      expect(result.pages).toMatch(/written [1-9]/);
    } finally {
      await server.close();
    }
  });
});
