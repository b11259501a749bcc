import { relative } from 'node:path';
import { createApp } from '../../src/app.ts';
import { createEngine, type LocalCompleter } from '../node/create-engine.ts';
import { DEMO_MODEL, demoModelFolder } from '../node/open-source.ts';
import { startServer } from '../node/server.ts';
import { memoryText } from './memory-text.ts';
import { UsageError, type ServeOptions } from './options.ts';
import { packageVersion } from './version.ts';

const DRAIN_MS = 8_000;
const LOOPBACK = new Set(['127.0.0.1', 'localhost', '::1']);

/** Loads the model, serves it until SIGTERM or SIGINT, then drains. */
export async function serve(options: ServeOptions): Promise<void> {
  const { engine, port, host, apiKeys, corsOrigins } = options;
  const startedMs = performance.now();
  const stop = new AbortController();
  const onSignal = (): void => stop.abort(new UsageError('Stopped while loading.'));
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  const model = engine.model ?? DEMO_MODEL;
  write(`gemlet ${packageVersion()}: loading ${model} ...`);
  const completer = await createEngine({ ...engine, signal: stop.signal });
  try {
    const app = createApp({
      completer,
      ...(apiKeys.length === 0 ? {} : { apiKeys }),
      ...(corsOrigins.length === 0
        ? {}
        : { cors: { origins: corsOrigins.includes('*') ? '*' : corsOrigins } }),
    });
    const server = await startServer({
      app,
      port,
      host,
      drain: (deadlineMs) => completer.drain(deadlineMs),
      drainMs: DRAIN_MS,
    });
    try {
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
      write(readyText(completer, server.url, seconds, model === DEMO_MODEL, apiKeys.length > 0));
      if (apiKeys.length === 0 && !LOOPBACK.has(host)) {
        write('\nAnyone who reaches this machine may use the model. Set --api-key to change that.');
      }
      if (!stop.signal.aborted) {
        await new Promise((resolve) =>
          stop.signal.addEventListener('abort', resolve, { once: true }),
        );
      }
      write('\nStopping: running answers get 8 s to finish.');
    } finally {
      await server.close();
    }
  } finally {
    await completer.close();
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
  }
}

function readyText(
  completer: LocalCompleter,
  url: string,
  seconds: string,
  isDemo: boolean,
  needsKey: boolean,
): string {
  const { id, contextTokens, precision } = completer.model;
  const curl = isDemo ? captionCurl(url, needsKey) : chatCurl(url, needsKey);
  return `
${memoryText(completer.memory)}

Ready in ${seconds} s: ${id}, ${precision}, ${contextTokens} tokens of context, on ${url}

Try it:

${curl}`;
}

/** A picture in, a caption out, streamed. */
function captionCurl(url: string, needsKey: boolean): string {
  const picture = relative(process.cwd(), `${demoModelFolder()}/example.png`);
  return `curl -N ${url}/v1/chat/completions ${headers(needsKey)} -d '{"stream": true, "temperature": 0, "messages": [{"role": "user", "content": [
  {"type": "image_url", "image_url": {"url": "data:image/png;base64,'"$(base64 < ${picture} | tr -d '\\n')"'"}},
  {"type": "text", "text": "Describe this image."}]}]}'`;
}

function chatCurl(url: string, needsKey: boolean): string {
  return `curl -N ${url}/v1/chat/completions ${headers(needsKey)} -d '{"stream": true, "messages": [
  {"role": "user", "content": "Why is the sky blue?"}]}'`;
}

function headers(needsKey: boolean): string {
  const key = needsKey ? ' -H "authorization: Bearer $GEMLET_API_KEY"' : '';
  return `-H 'content-type: application/json'${key}`;
}

function write(text: string): void {
  process.stdout.write(`${text}\n`);
}
