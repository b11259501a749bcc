import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { openUpstream, type UpstreamOptions } from '../../../adapters/node/open-upstream.ts';
import type { ModelCard } from '../../../src/completer.ts';
import { collect, textOf } from '../../support/completions.ts';
import { type FakeKind, startFakeUpstream } from '../../support/fake-upstream.ts';
import { plainRequest } from '../../support/upstream-harness.ts';
import { removeBundle, writeDemoBundle } from '../../upstreams/front.ts';

let bundle: string;
const open: { close(): Promise<void> }[] = [];

beforeAll(async () => {
  bundle = await writeDemoBundle();
});
afterAll(() => removeBundle(bundle));
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

async function start(kind: FakeKind, options: Omit<UpstreamOptions, 'baseUrl'>) {
  const upstream = await startFakeUpstream({ kind });
  const completer = await openUpstream({ baseUrl: upstream.url, ...options });
  open.push(completer, upstream);
  return { upstream, completer };
}

async function cardOf(
  kind: FakeKind,
  options: Omit<UpstreamOptions, 'baseUrl'>,
): Promise<ModelCard | undefined> {
  const { completer } = await start(kind, options);
  return completer.describe?.();
}

it('takes the context from whoever knows it: the operator, the server, the bundle', async () => {
  // The demo model's own limit is below what bundles stand for where nothing is said.
  expect(await cardOf('openai', { bundle })).toMatchObject({ contextTokens: 4096 });
  expect(await cardOf('openai', { contextTokens: 300 })).toMatchObject({ contextTokens: 300 });
  expect(await cardOf('vllm', { bundle })).toMatchObject({ contextTokens: 512 });
  expect(await cardOf('vllm', { bundle, contextTokens: 100 })).toMatchObject({
    contextTokens: 100,
  });
});

it('calls the model by the operator’s name, and asks for it by the server’s', async () => {
  const { upstream, completer } = await start('vllm', { id: 'mine', bundle });
  expect((await completer.describe?.())?.id).toBe('mine');
  expect(textOf(await collect(completer.complete(plainRequest())))).not.toBe('');
  expect(upstream.asked[0]?.body['model']).toBe('gemma');
});

it('has a bundle’s defaults as far as a server that was found out takes them', async () => {
  expect((await cardOf('vllm', { bundle }))?.defaults).toMatchObject({ topK: 64, topP: 0.95 });
  expect((await cardOf('openai', { bundle }))?.defaults).toMatchObject({ topK: 0, topP: 0.95 });
});
