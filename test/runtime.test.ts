import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { Miniflare } from 'miniflare';
import { afterAll, beforeAll, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** The app on a scripted completer, as a Worker. */
const WORKER = `
import { createApp } from './src/index.ts';
import { createStubCompleter } from './test/support/stub-completer.ts';
const app = createApp({ completer: createStubCompleter(), apiKeys: ['secret'] });
export default { fetch: (request) => app.fetch(request) };
`;

let workerd: Miniflare;
beforeAll(async () => {
  const bundle = await build({
    stdin: { contents: WORKER, resolveDir: ROOT, loader: 'ts' },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'neutral',
    conditions: ['workerd', 'worker'],
    mainFields: ['module', 'main'],
  });
  workerd = new Miniflare({
    modules: true,
    script: bundle.outputFiles[0]?.text ?? '',
    compatibilityDate: '2026-07-01',
    cf: false,
  });
  await workerd.ready;
});
afterAll(() => workerd.dispose());

const headers = { authorization: 'Bearer secret', 'content-type': 'application/json' };
const messages = [{ role: 'user', content: 'Hello' }];

it('lists its model in workerd, to those with the key', async () => {
  expect((await workerd.dispatchFetch('http://edge/v1/models')).status).toBe(401);
  const response = await workerd.dispatchFetch('http://edge/v1/models', { headers });
  expect(await response.json()).toMatchObject({ object: 'list' });
});

it('answers and streams in workerd', async () => {
  const answer = JSON.parse(await ask(false)) as { choices: { message: { content: string } }[] };
  const text = answer.choices[0]?.message.content ?? '';
  expect(text.length).toBeGreaterThan(0);
  const pieces = [...(await ask(true)).matchAll(/"content":"((?:[^"\\]|\\.)*)"/g)];
  expect(pieces.map(([, piece]) => JSON.parse(`"${piece}"`) as string).join('')).toBe(text);
});

/** One chat answer as its body. */
async function ask(stream: boolean): Promise<string> {
  const body = JSON.stringify({ messages, stream });
  const url = 'http://edge/v1/chat/completions';
  return (await workerd.dispatchFetch(url, { method: 'POST', headers, body })).text();
}
