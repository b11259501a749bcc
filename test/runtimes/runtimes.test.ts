import { describe, expect, it } from 'vitest';
import { CHAT, createHttpClient, framesOf, textOf } from '../contracts/http-client.ts';
import { describeHttp } from '../contracts/http.ts';
import { type HttpTarget, loadFromMetrics } from '../contracts/http-target.ts';
import { type RuntimeName, startRuntime } from '../support/runtimes.ts';

/** `npm run test:runtimes` sets it: the runtimes are fetched, 100 MB each, for Linux on x64 only. */
const isWanted = process.env['GEMLET_RUNTIMES'] === '1';

describe.skipIf(!isWanted)('other runtimes (npm run test:runtimes)', () => {
  const names: readonly RuntimeName[] = ['deno', 'bun', 'node'];
  for (const name of names) {
    describeHttp(name, async () => {
      const runtime = await startRuntime(name);
      console.log(`${name}: ${runtime.version}`);
      const send: HttpTarget['send'] = (path, init) => fetch(`${runtime.url}${path}`, init);
      return {
        send,
        load: () => loadFromMetrics(send),
        tellsGoneClients: true,
        holdsBack: true,
        keepsJobs: true,
        close: () => runtime.stop(),
      };
    });

    it(`lets running answers finish while it closes on ${name}, and takes no new ones`, async () => {
      const runtime = await startRuntime(name);
      const client = createHttpClient((path, init) => fetch(`${runtime.url}${path}`, init));
      const messages = [{ role: 'user', content: 'Hello' }];
      const body = { messages, seed: 7, ignore_eos: true, max_tokens: 4_000, stream: true };
      const response = await client.post(CHAT, body);
      const stopped = runtime.stop();
      expect(textOf(framesOf(await response.text())).length).toBeGreaterThan(1_000);
      await stopped;
      await expect(fetch(`${runtime.url}/health/live`)).rejects.toThrow();
    });
  }
});
