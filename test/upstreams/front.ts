import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openTarget } from '../../adapters/cli/gateway.ts';
import { parseGatewayOptions } from '../../adapters/cli/gateway-options.ts';
import { createApp } from '../../src/app.ts';
import type { Completer } from '../../src/completer.ts';
import { buildVocabulary } from '../../src/prompt/build-vocabulary.ts';
import { type Answer, CHAT, createHttpClient, type HttpClient } from '../contracts/http-client.ts';
import { type DemoCase, readDemoPicture } from '../support/demo-cases.ts';
import { readDemoFile } from '../support/demo-model.ts';

/** The small files of the demo model's bundle, which is all that a gateway reads of one. */
export async function writeDemoBundle(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gemlet-bundle-'));
  const names = ['config.json', 'generation_config.json', 'preprocessor_config.json'];
  for (const name of names) await writeFile(join(folder, name), readDemoFile(name));
  const vocabulary = await buildVocabulary(readDemoFile('tokenizer.json'));
  await writeFile(join(folder, 'vocabulary.bin'), vocabulary);
  return folder;
}

/** The API over a completer. */
export interface Front extends HttpClient {
  readonly completer: Completer;
  /** What the first choice of a conversation says. */
  readonly say: (body: object) => Promise<string>;
  close(): Promise<void>;
}

export function createFront(completer: Completer): Front {
  const app = createApp({ completer });
  const client = createHttpClient(async (path, init) => app.request(path, init));
  return {
    ...client,
    completer,
    async say(body) {
      const { choices } = await client.answer(CHAT, body);
      return choices[0]?.message?.content ?? '';
    },
    close: () => completer.close(),
  };
}

/** What `gemlet gateway` with these arguments serves. */
export async function openFront(...args: readonly string[]): Promise<Front> {
  return createFront(await openTarget(parseGatewayOptions(args, {}), () => undefined));
}

export async function removeBundle(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}

/** A golden conversation as clients send it. */
export function goldenMessages({ messages }: DemoCase): readonly object[] {
  return messages.map(({ role, content }) => ({
    role,
    content:
      typeof content === 'string'
        ? content
        : content.map((part) =>
            part.type === 'text' ? part : picture(readDemoPicture(part.file)),
          ),
  }));
}

export function picture(file: Uint8Array): object {
  const url = `data:image/png;base64,${Buffer.from(file).toString('base64')}`;
  return { type: 'image_url', image_url: { url } };
}

export function user(content: string | readonly object[]): object {
  return { role: 'user', content };
}

/** What every choice says. */
export function textsOf({ choices }: Answer): readonly string[] {
  return choices.map(({ message, text }) => message?.content ?? text ?? '');
}
