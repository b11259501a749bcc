import { relative } from 'node:path';
import { createApp } from '../../src/app.ts';
import type { Completer } from '../../src/completer.ts';
import { ServeError } from '../../src/errors.ts';
import type { DoorOptions } from '../../src/http/doors/doors.ts';
import type { LoadEvent } from '../../src/lazy-completer.ts';
import { createRequestLog, type RequestLog } from '../../src/log/request-log.ts';
import { createStreamWriter } from '../../src/log/stream-writer.ts';
import { createLazyEngine, type LazyEngine } from '../node/create-lazy-engine.ts';
import { DEMO_MODEL, demoModelFolder } from '../node/open-source.ts';
import { startServer } from '../node/server.ts';
import { openKeys } from './doors/open-keys.ts';
import { startNotices } from './doors/start-notices.ts';
import { memoryText } from './memory-text.ts';
import type { ServeOptions, ServerSettings } from './options.ts';
import { UsageError } from './read-options.ts';
import { packageVersion } from './version.ts';

/** Listens, loads the model, serves it until SIGTERM or SIGINT, then drains. */
export async function serve(options: ServeOptions): Promise<void> {
  const { engine, port, host, apiKeys, idleUnloadMs } = options;
  const startedMs = performance.now();
  const stop = new AbortController();
  const onSignal = (): void => stop.abort(new UsageError('Stopped while loading.'));
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  const model = engine.model ?? DEMO_MODEL;
  const isLazy = options.load === 'lazy';
  /** The first load has its own lines. */
  let isReady = false;
  const log = openLog(options);
  const completer = createLazyEngine({
    ...engine,
    idleUnloadMs,
    onEvent: log,
    onLoad(event) {
      // What fails before it was ready ends this process, with the reason.
      if (!isReady) return;
      tell(event, model);
      log(event);
    },
  });
  const keys = openKeys(options, log);
  try {
    const server = await startServer({
      app: appOf(completer, options, log, keys.doors),
      ...options.bounds,
      onEvent: log,
      port,
      host,
      drain: (deadlineMs) => completer.drain(deadlineMs),
      drainMs: options.drainMs,
      ...(options.stallMs === null ? {} : { stallMs: options.stallMs }),
    });
    try {
      const { url } = server;
      const plan = isLazy ? `${model} is loaded by the first request` : `loading ${model} ...`;
      write(`gemlet ${packageVersion()}: listening on ${url}, ${plan}`);
      for (const line of startNotices(options, process.versions.node)) write(line);
      // A lazy server reads the model's small files, so that what cannot be loaded is seen at once.
      await (isLazy ? completer.describe(stop.signal) : completer.ready(stop.signal));
      isReady = true;
      const seconds = secondsSince(startedMs);
      write(readyText(completer, url, seconds, model === DEMO_MODEL, apiKeys.length > 0));
      if (!stop.signal.aborted) {
        await new Promise((resolve) =>
          stop.signal.addEventListener('abort', resolve, { once: true }),
        );
      }
      write(`\nStopping: running answers get ${options.drainMs / 1000} s to finish.`);
    } finally {
      await server.close();
    }
  } catch (error) {
    // What clients are not told: why the load failed.
    throw ServeError.is(error) && error.cause !== undefined ? error.cause : error;
  } finally {
    keys.close();
    await completer.close();
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
  }
}

/** The HTTP API with what was asked for on the command line. */
export function appOf(
  completer: Completer,
  options: ServerSettings & { readonly fleetKeys?: readonly string[] },
  onEvent: RequestLog,
  doors: DoorOptions,
): ReturnType<typeof createApp> {
  const { corsOrigins, aliases, acceptsAnyModel, holdMs, pingPath, fleetKeys = [] } = options;
  return createApp({
    completer,
    onEvent,
    version: packageVersion(),
    models: { aliases, acceptsAny: acceptsAnyModel },
    ...doors,
    ...(corsOrigins.length === 0
      ? {}
      : { cors: { origins: corsOrigins.includes('*') ? '*' : corsOrigins } }),
    limits: options.bounds,
    ...(holdMs === null ? {} : { cold: { holdMs } }),
    ...(pingPath === null ? {} : { pingPath }),
    ...(fleetKeys.length === 0 ? {} : { fleetKeys }),
  });
}

/** On stdout, as platforms of containers want it: some take every line on stderr for an error. */
export function openLog({ log, secrets }: ServerSettings): RequestLog {
  const { stdout } = process;
  const format = log ?? (stdout.isTTY ? 'pretty' : 'json');
  return createRequestLog({ format, secrets, write: createStreamWriter(stdout) });
}

/** One line for each load after the first, and for its end. */
function tell(event: LoadEvent, model: string): void {
  switch (event.type) {
    case 'load-begin':
      return write(`Loading ${model} ...`);
    case 'load-end':
      return write(`Loaded in ${(event.durationMs / 1000).toFixed(1)} s.`);
    case 'unload':
      return write('Unloaded: no requests. The next one loads the model again.');
    case 'load-failed':
      return; // the log has it
    default:
      return event satisfies never;
  }
}

export function secondsSince(startedMs: number): string {
  return ((performance.now() - startedMs) / 1000).toFixed(1);
}

function readyText(
  completer: LazyEngine,
  url: string,
  seconds: string,
  isDemo: boolean,
  needsKey: boolean,
): string {
  const { id, contextTokens, precision } = completer.model;
  const memory = completer.memory();
  const curl = isDemo ? captionCurl(url, needsKey) : chatCurl(url, needsKey);
  return `
${memory === null ? '' : memoryText(memory)}

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

export function write(text: string): void {
  process.stdout.write(`${text}\n`);
}
