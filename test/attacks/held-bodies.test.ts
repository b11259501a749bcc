import { describe, expect, it } from 'vitest';
import { type AppHarness, createAppHarness, until, untilAborted } from '../support/app-harness.ts';

const CHAT = '/v1/chat/completions';
const MIB = 2 ** 20;
const KEYS = ['greedy', 'other'];
/** As `/metrics` asks for where clients have keys. */
const METRICS_KEY = 'key-for-metrics';
const small = { messages: [{ role: 'user', content: 'Hi' }] };
const large = { messages: [{ role: 'user', content: 'a'.repeat(MIB) }] };

function as(key: string, headers: Record<string, string> = {}): RequestInit {
  return { headers: { authorization: `Bearer ${key}`, ...headers } };
}

async function heldBytes(send: AppHarness['send']): Promise<number> {
  const text = await (await send('/metrics', undefined, as(METRICS_KEY))).text();
  return Number(/^gemlet_body_bytes\{.*\} (\d+)$/m.exec(text)?.[1]);
}

async function codeOf(response: Response): Promise<string> {
  return ((await response.json()) as { error: { code: string } }).error.code;
}

describe('bodies of one key', () => {
  it('that never end leave room for those of others, and are given back when their sender leaves', async () => {
    const limits = { maxBodiesBytes: 8 * MIB };
    const { send } = createAppHarness({ apiKeys: KEYS, metricsKeys: [METRICS_KEY], limits });
    const leaving = new AbortController();
    const chunk = new Uint8Array(MIB).fill(0x20);
    const slow = Array.from({ length: 6 }, () => {
      let isFirst = true;
      const body = new ReadableStream<Uint8Array>({
        async pull(controller) {
          if (isFirst) controller.enqueue(chunk);
          isFirst = false;
          await new Promise((resolve) =>
            leaving.signal.addEventListener('abort', resolve, { once: true }),
          );
          controller.error();
        },
      });
      return send(CHAT, {}, { ...as('greedy'), body, duplex: 'half' });
    });
    const refused = await Promise.race(slow);
    expect([refused.status, refused.headers.has('retry-after')]).toEqual([503, true]);
    expect(await codeOf(refused)).toBe('overloaded');
    expect(await heldBytes(send)).toBe(4 * MIB);
    expect((await send(CHAT, large, as('other'))).status).toBe(200);
    leaving.abort();
    await Promise.allSettled(slow);
    expect(await heldBytes(send)).toBe(0);
  });

  it('are held until the answer is over, streamed or not', async () => {
    const { send, completer } = createAppHarness({}, { gate: untilAborted });
    const leaving = new AbortController();
    const { signal } = leaving;
    const answers = [true, false].map((stream) => send(CHAT, { ...large, stream }, { signal }));
    await until(() => completer.activeCount === 2);
    expect(await heldBytes(send)).toBeGreaterThan(2 * MIB);
    leaving.abort();
    await Promise.allSettled(answers);
    await until(() => completer.activeCount === 0);
    expect(await heldBytes(send)).toBe(0);
  });
});

describe('jobs of one key', () => {
  it('hold so many bytes and no more, and leave room for those of others', async () => {
    const limits = { maxTenantJobBytes: 4 * MIB };
    const { send } = createAppHarness(
      { apiKeys: KEYS, metricsKeys: [METRICS_KEY], limits },
      { gate: untilAborted },
    );
    const later = { prefer: 'respond-async' };
    const statuses: number[] = [];
    for (let index = 0; index < 6; index++) {
      statuses.push((await send(CHAT, large, as('greedy', later))).status);
    }
    expect(statuses).toEqual([202, 202, 202, 429, 429, 429]);
    expect((await send(CHAT, large, as('other', later))).status).toBe(202);
    // Their bytes count among the jobs, no longer among the bodies that are read.
    expect(await heldBytes(send)).toBe(0);
  });

  it('are so many and no more', async () => {
    const { send } = createAppHarness({ apiKeys: KEYS }, { gate: untilAborted });
    const later = { prefer: 'respond-async' };
    for (let index = 0; index < 64; index++) {
      expect((await send(CHAT, small, as('greedy', later))).status).toBe(202);
    }
    expect(await codeOf(await send(CHAT, small, as('greedy', later)))).toBe('queue_full');
    expect((await send(CHAT, small, as('other', later))).status).toBe(202);
  });
});
