import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startLoadServer } from '../../infra/bench/load-server.ts';

const CONVERSATIONS = 8;
const STREAMS = 2;
const DRAIN_SECONDS = 8;
const ENTRY = new URL('../../dist/adapters/cli/main.js', import.meta.url);

interface Body {
  readonly choices: [{ message: { content: string }; finish_reason: string }];
  readonly usage: { total_tokens: number; prompt_tokens_details: { cached_tokens: number } };
}

function post(url: string, body: object): Promise<Response> {
  return fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ temperature: 0, ...body }),
  });
}

function question(number: number): object {
  const content = `Conversation ${number}: ${'tell me more about this and that. '.repeat(12)}`;
  return { role: 'user', content };
}

it(
  'on SIGTERM lets streams finish, writes what is warm, and ends in time with exit code 0',
  { timeout: 120_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'gemlet-drain-'));
    const flags = ['--slots', '4', '--threads', '2', '--context', '2048', '--kv-store', folder];
    flags.push('--kv-restore', 'always', '--kv-budget', '64MB');
    try {
      const server = await startLoadServer(flags, ENTRY);
      const answers: Body[] = [];
      for (let number = 0; number < CONVERSATIONS; number++) {
        const response = await post(server.url, { max_tokens: 24, messages: [question(number)] });
        answers.push((await response.json()) as Body);
      }
      const streams = Array.from({ length: STREAMS }, async (_, at) => {
        const messages = [question(100 + at)];
        const body = { stream: true, max_tokens: 400, ignore_eos: true, messages };
        return (await post(server.url, body)).text();
      });
      await new Promise((resolve) => setTimeout(resolve, 150));
      const startedMs = performance.now();
      const code = await server.stop();
      expect(performance.now() - startedMs).toBeLessThan(DRAIN_SECONDS * 1000 + 1500);
      expect(code).toBe(0);
      for (const text of await Promise.all(streams)) {
        expect(text).toContain('"finish_reason":"length"');
        expect(text).toContain('[DONE]');
      }
      const next = await startLoadServer(flags, ENTRY);
      for (const [number, { choices, usage }] of answers.entries()) {
        const said = { role: 'assistant', content: choices[0].message.content };
        const messages = [question(number), said, { role: 'user', content: 'Go on.' }];
        const body = (await (await post(next.url, { max_tokens: 4, messages })).json()) as Body;
        const known = usage.total_tokens - 1;
        expect(body.usage.prompt_tokens_details.cached_tokens).toBeGreaterThanOrEqual(known - 4);
      }
      await next.close();
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
