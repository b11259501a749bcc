import { describe, expect, it } from 'vitest';
import { createAppHarness, until, untilAborted } from '../support/app-harness.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { settle } from '../support/lazy-harness.ts';

const messages = [{ role: 'user', content: 'Hi' }];

const gate = (at: number, signal: AbortSignal): Promise<void> =>
  at < 1 ? Promise.resolve() : untilAborted(at, signal);

describe('an answer that takes too long', () => {
  it.each([false, true])('is given up, with what to do; streamed: %s', async (stream) => {
    const clock = createFakeClock();
    const limits = { requestTimeoutMs: 5_000 };
    const { send, completer } = createAppHarness({ clock, limits }, { gate });
    const answering = send('/v1/chat/completions', { messages, stream });
    const text = answering.then((response) => response.text());
    await until(() => completer.activeCount === 1);
    await settle();
    clock.advance(4_999);
    await settle();
    expect(completer.activeCount).toBe(1);
    clock.advance(1);
    expect((await answering).status).toBe(stream ? 200 : 504);
    expect(await text).toContain('The answer took longer than 5 s');
    expect(completer.activeCount).toBe(0);
    const metrics = await (await send('/metrics')).text();
    expect(metrics).toMatch(/exceeded_total\{.*bound="requestTimeoutMs".*\} 1$/m);
  });

  it('leaves no timer behind one that is done', async () => {
    const clock = createFakeClock();
    const { send } = createAppHarness({ clock });
    expect((await send('/v1/chat/completions', { messages })).status).toBe(200);
    expect(clock.sleeping()).toBe(0);
  });
});
