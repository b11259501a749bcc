import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CHAT } from '../contracts/http-client.ts';
import { BUILD_MS, isWanted } from './describe-llama.ts';
import { type Front, openFront, removeBundle, user, writeDemoBundle } from './front.ts';
import { type RunningLlama, startLlama } from './llama-server.ts';

const ENDLESS = { messages: [user('Hello')], ignore_eos: true, max_tokens: 900, stream: true };

describe.skipIf(!isWanted)(
  'answers of a real llama.cpp that end early (npm run test:upstreams)',
  () => {
    let llama: RunningLlama;
    let bundle: string;
    let front: Front | undefined;
    beforeEach(async () => {
      llama = await startLlama();
      bundle = await writeDemoBundle();
    }, BUILD_MS);
    afterEach(async () => {
      await front?.close();
      await llama?.stop();
      await removeBundle(bundle);
    });

    const open = async (way: string): Promise<Front> => {
      front = await openFront(
        '--upstream',
        llama.url,
        ...(way === 'ids' ? ['--bundle', bundle] : []),
      );
      return front;
    };

    it.each(['messages', 'ids'])('free their slots when the client leaves, by %s', async (way) => {
      const { post } = await open(way);
      for (const leave of ['abort', 'cancel'] as const) {
        const abort = new AbortController();
        const response = await post(CHAT, ENDLESS, { signal: abort.signal });
        const reader = response.body?.getReader();
        await reader?.read();
        expect(await llama.busy()).toBe(1);
        if (leave === 'abort') abort.abort();
        await reader?.cancel().catch(() => undefined);
        while ((await llama.busy()) > 0);
      }
    });

    it.each(['messages', 'ids'])('say so in the stream when it is killed, by %s', async (way) => {
      const { post } = await open(way);
      const response = await post(CHAT, ENDLESS);
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
      let text = (await reader?.read())?.value ?? '';
      await llama.kill();
      for (;;) {
        const next = await reader?.read();
        if (next === undefined || next.done) break;
        text += next.value;
      }
      const last = text.split('\n\n').findLast((line) => line.startsWith('data: {')) ?? '';
      expect(JSON.parse(last.slice('data: '.length))).toMatchObject({
        error: { code: 'upstream_unavailable' },
      });
      expect(text).not.toContain('"finish_reason":"stop"');
    });
  },
);
