import { describe, expect, it } from 'vitest';
import { createAppHarness } from '../support/app-harness.ts';

const MIB = 2 ** 20;
const CHAT = '/v1/chat/completions';
const text = 'Hi';

/** A list of `item` that takes so many bytes. */
function listOf(item: string, sizeBytes: number): string {
  return `[${`${item},`.repeat(sizeBytes / (item.length + 1))}${item}]`;
}

describe('bodies that are small on the wire and large in memory', () => {
  const { send, completer } = createAppHarness();

  it.each([
    ['empty objects in a field that nobody reads', `{"zz":${listOf('{}', 4 * MIB)}}`],
    ['empty arrays as messages', `{"messages":${listOf('[]', 4 * MIB)}}`],
    ['numbers', `{"prompt":${listOf('1', 4 * MIB)}}`],
    [
      'text parts',
      `{"messages":[{"role":"user","content":${listOf('{"type":"text","text":"a"}', 4 * MIB)}}]}`,
    ],
    ['keys', `{${Array.from({ length: 100_000 }, (_, index) => `"k${index}":1`).join(',')}}`],
    ['one long text', `{"messages":[{"role":"user","content":"${'a'.repeat(9 * MIB)}"}]}`],
    ['white space', `{"messages":[${' '.repeat(9 * MIB)}]}`],
  ])('are refused before they are parsed: %s', async (_, body) => {
    // What follows is no JSON: a parser would have said so.
    const response = await send(CHAT, {}, { body: `${body}]` });
    const { error } = (await response.json()) as { error: { message: string } };
    expect([400, 413]).toContain(response.status);
    expect(error.message).toMatch(/has more than \d+ (values|strings|bytes)/);
    expect(completer.requests).toEqual([]);
  });

  it('are counted by the bound that they passed', async () => {
    const harness = createAppHarness({ limits: { maxJsonValues: 4 } });
    await harness.send(CHAT, [1, 2, 3, 4]);
    const metrics = await (await harness.send('/metrics')).text();
    expect(metrics).toMatch(/^gemlet_bounds_exceeded_total\{.*bound="maxJsonValues".*\} 1$/m);
    expect(metrics).toMatch(/^gemlet_bounds_exceeded_total\{.*bound="maxBodyBytes".*\} 0$/m);
  });

  it('are given up while they still come', async () => {
    let pulled = 0;
    const chunk = new TextEncoder().encode('{},'.repeat(20_000));
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => (pulled++, controller.enqueue(chunk)),
    });
    const response = await send(CHAT, {}, { body, duplex: 'half' });
    expect(response.status).toBe(400);
    expect(pulled).toBeLessThan(20);
  });

  it('are not those of honest users', async () => {
    const picture = `data:image/png;base64,${'A'.repeat(MIB / 2)}`;
    const image = { type: 'image_url', image_url: { url: picture } };
    const ids = Array.from({ length: 2 ** 17 }, (_, index) => index % 250);
    const turns = Array.from({ length: 8192 }, () => ({
      role: 'user',
      content: [{ type: 'text', text }],
    }));
    const bodies: [string, object][] = [
      [CHAT, { messages: [{ role: 'user', content: Array.from({ length: 20 }, () => image) }] }],
      [CHAT, { messages: [{ role: 'user', content: 'ж'.repeat(2 ** 20) }] }],
      [CHAT, { messages: turns }],
      ['/v1/completions', { prompt: ids }],
      ['/v1/completions', { prompt: [ids.slice(0, 4096), ids.slice(0, 4096)] }],
    ];
    for (const [path, body] of bodies) {
      expect((await send(path, body)).status).toBe(200);
    }
  });
});

describe('many parts', () => {
  it('are refused where they stand', async () => {
    const { send } = createAppHarness();
    const content = Array.from({ length: 200_000 }, () => ({ type: 'text', text }));
    const messages = [{ role: 'user', content: content.slice(0, 5000) }];
    const both = await send(CHAT, { messages: [...messages, ...messages] });
    expect([both.status, await both.json()]).toMatchObject([
      400,
      { error: { param: 'messages[1]' } },
    ]);
    expect((await send(CHAT, { messages: [{ role: 'user', content }] })).status).toBe(400);
  });
});
