import { describe, expect, it } from 'vitest';
import { hashText, rendezvousScore, type TextHash } from '../../src/fleet/rendezvous.ts';

const SESSIONS = Array.from({ length: 20_000 }, (_, at) => hashText(`session-${at}`));

function replicas(count: number): readonly TextHash[] {
  return Array.from({ length: count }, (_, at) => hashText(`http://10.0.0.${at}:8787`));
}

function winner(session: TextHash, among: readonly TextHash[]): number {
  const scores = among.map((replica) => rendezvousScore(session, replica));
  return scores.indexOf(Math.max(...scores));
}

describe('rendezvous hashing', () => {
  it('spreads sessions evenly over replicas whose URLs are nearly equal', () => {
    const count = 40;
    const among = replicas(count);
    const counts = Array<number>(count).fill(0);
    for (const session of SESSIONS) {
      const at = winner(session, among);
      counts[at] = (counts[at] ?? 0) + 1;
    }
    // Chi square with 39 degrees of freedom: above 80 once in 10,000 for a good hash.
    const mean = SESSIONS.length / count;
    const chiSquare = counts.reduce((sum, each) => sum + (each - mean) ** 2 / mean, 0);
    expect(chiSquare).toBeLessThan(80);
    expect(chiSquare).toBeGreaterThan(10);
  });

  it('moves only the sessions of a replica that goes, and spreads them evenly', () => {
    const before = replicas(10);
    const after = before.slice(0, 9);
    const counts = Array<number>(9).fill(0);
    for (const session of SESSIONS) {
      const at = winner(session, before);
      const then = winner(session, after);
      if (at !== 9) expect(then).toBe(at);
      else counts[then] = (counts[then] ?? 0) + 1;
    }
    const mean = counts.reduce((sum, each) => sum + each, 0) / 9;
    expect(mean * 9).toBeGreaterThan(1_800);
    for (const each of counts) expect(Math.abs(each - mean)).toBeLessThan(5 * Math.sqrt(mean));
  });

  it('gives different texts different hashes, and orders of the same letters too', () => {
    const texts = new Set<string>();
    for (let at = 0; at < 50_000; at++) texts.add(at.toString(36));
    for (const text of ['', 'ab', 'ba', '\u0000', '\u0000\u0000', 'é', 'e\u0301']) texts.add(text);
    const hashes = new Set([...texts].map((text) => JSON.stringify(hashText(text))));
    expect(hashes.size).toBe(texts.size);
  });
});
