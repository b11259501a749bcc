import type { Completer } from '../../src/completer.ts';
import type { RequestLog } from '../../src/log/request-log.ts';
import { createGateway } from '../node/create-gateway.ts';
import { openUpstream } from '../node/open-upstream.ts';
import { startServer } from '../node/server.ts';
import { openKeys } from './doors/open-keys.ts';
import { startNotices } from './doors/start-notices.ts';
import type { GatewaySettings } from './gateway-options.ts';
import { appOf, openLog, write } from './serve.ts';
import { packageVersion } from './version.ts';

/** Listens and passes prompts on to replicas until SIGTERM or SIGINT, then drains. */
export async function gateway(settings: GatewaySettings): Promise<void> {
  const { port, host, drainMs, stallMs, addresses } = settings;
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  const log = openLog(settings);
  const completer = await openTarget(settings, log);
  const keys = openKeys(settings, log);
  try {
    const server = await startServer({
      app: appOf(completer, settings, log, keys.doors),
      ...settings.bounds,
      onEvent: log,
      port,
      host,
      drain: (deadlineMs) => completer.drain(deadlineMs),
      drainMs,
      ...(stallMs === null ? {} : { stallMs }),
    });
    try {
      write(`gemlet ${packageVersion()}: gateway on ${server.url}, to ${addresses.join(', ')}`);
      for (const line of startNotices(settings, process.versions.node)) write(line);
      if (!stop.signal.aborted) {
        await new Promise((resolve) =>
          stop.signal.addEventListener('abort', resolve, { once: true }),
        );
      }
      write(`\nStopping: running answers get ${drainMs / 1000} s to finish.`);
    } finally {
      await server.close();
    }
  } finally {
    keys.close();
    await completer.close();
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
  }
}

/** What the gateway passes requests on to. */
export async function openTarget(
  { target }: GatewaySettings,
  onEvent: RequestLog,
): Promise<Completer> {
  return target.type === 'fleet'
    ? createGateway({ ...target.gateway, onEvent })
    : openUpstream({ ...target.upstream, onEvent });
}
