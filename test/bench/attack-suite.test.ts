import { describe, expect, it } from 'vitest';
import { startServer } from '../../adapters/node/server.ts';
import { ATTACKS } from '../../infra/attacks/attacks.ts';
import { createAttacker } from '../../infra/attacks/attacker.ts';
import { gifOfOneColour, pngOfChunks } from '../../infra/attacks/hostile-pictures.ts';
import { jpegOfScans } from '../../infra/attacks/jpeg-of-scans.ts';
import type { AttackResult, Experience } from '../../infra/attacks/run-attack.ts';
import { ATTACK_USAGE, runAttacks } from '../../infra/attacks/suite.ts';
import { broken, DEFAULT_BOUNDS, formatAttacks } from '../../infra/attacks/verdict.ts';
import { watch } from '../../infra/attacks/watch.ts';
import { createApp } from '../../src/app.ts';
import { readImageHeader } from '../../src/image/sniff.ts';
import { createStubCompleter } from '../support/stub-completer.ts';

const CALM: Experience = {
  answers: 20,
  p50Ms: 40,
  p99Ms: 60,
  failures: 0,
  firstFailure: null,
  longestLiveMs: 10,
  longestStallMs: 8,
  liveFailures: 0,
};
const HELD: AttackResult = {
  attack: 'a',
  finding: 'H1',
  target: 'serve',
  calm: CALM,
  attacked: { ...CALM, p99Ms: 290 },
  after: CALM,
  rssMb: { before: 160, peak: 400, after: 170 },
  outcomes: { '429': 3 },
  survived: true,
};

describe('the verdict on an attack', () => {
  it.each<[string, Partial<AttackResult>]>([
    ['a server died', { survived: false }],
    ['1 requests of the other user failed', { after: { ...CALM, failures: 1 } }],
    ['the other user got no answer', { attacked: { ...CALM, answers: 0, p99Ms: null } }],
    ['p99 is 2001 ms', { attacked: { ...CALM, p99Ms: 2_001 } }],
    ['p99 is 6.0 times the calm one', { attacked: { ...CALM, p99Ms: 360 } }],
    ['stood still for 101 ms', { attacked: { ...CALM, longestStallMs: 101 } }],
    ['1001 MB', { rssMb: { before: 1, peak: 1_001, after: 1 } }],
  ])('is broken where %s', (what, change) => {
    const result = { ...HELD, ...change };
    expect(broken(result, DEFAULT_BOUNDS)).toEqual([what]);
    expect(formatAttacks([HELD, result], DEFAULT_BOUNDS)).toContain(`BROKEN: ${what}`);
    expect(formatAttacks([HELD, result], DEFAULT_BOUNDS)).toContain('2 tried, 1 held, 1 broken');
  });

  it('is held within all bounds', () => {
    expect(broken(HELD, DEFAULT_BOUNDS)).toEqual([]);
  });
});

describe('attacks', () => {
  it('have names of their own', () => {
    expect(new Set(ATTACKS.map(({ name }) => name)).size).toBe(ATTACKS.length);
  });

  it.each([
    ['jpeg', jpegOfScans({ width: 64, height: 48, components: 4, scans: 5 })],
    ['jpeg', jpegOfScans({ width: 64, height: 48, components: 1, scans: 1 })],
    ['gif', gifOfOneColour(64, 48)],
    ['png', pngOfChunks(5)],
  ])('write pictures that are whole: %s', (format, bytes) => {
    const [width, height] = format === 'png' ? [1, 1] : [64, 48];
    expect(readImageHeader(bytes)).toMatchObject({ format, width, height });
  });

  it('are counted by what they get, while another user is served', async () => {
    const completer = createStubCompleter();
    const server = await startServer({
      app: createApp({ completer, apiKeys: ['a', 'b'] }),
      port: 0,
    });
    try {
      const counts = new Map<string, number>();
      const count = (outcome: string, by = 1): void =>
        void counts.set(outcome, (counts.get(outcome) ?? 0) + by);
      const attacker = createAttacker(new URL(server.url), 'a', {
        onStart: () => undefined,
        count,
      });
      await attacker.post('/v1/completions', { prompt: 'x' });
      await attacker.post('/v1/completions', '{');
      await attacker.hold(['nonsense\r\n\r\n'], 'all');
      expect(Object.fromEntries(counts)).toEqual({ '200': 1, '400': 2, unanswered: 0 });
      const seen = await watch({ url: server.url, apiKey: 'b', pid: process.pid, seconds: 0.2 });
      expect(seen).toMatchObject({ failures: 0, firstFailure: null, liveFailures: 0 });
      expect(seen.answersMs.length).toBeGreaterThan(0);
      const refused = await watch({ url: server.url, apiKey: 'c', pid: 0, seconds: 0.05 });
      expect(refused).toMatchObject({ answersMs: [], firstFailure: expect.stringMatching(/^401/) });
    } finally {
      await server.close();
    }
  });

  it('are chosen by name, finding and target', async () => {
    await expect(runAttacks(['--only', 'nothing like it'])).rejects.toThrow('no attack fits');
    await expect(runAttacks(['--seconds', '0'])).rejects.toThrow('--seconds');
    expect(ATTACK_USAGE).toContain('--only');
  });
});
