import { createGateway } from '../node/create-gateway.ts';
import { startServer } from '../node/server.ts';
import type { GatewaySettings } from './gateway-options.ts';
import { appOf, LOOPBACK, write } from './serve.ts';
import { packageVersion } from './version.ts';

/** Listens and passes prompts on to replicas until SIGTERM or SIGINT, then drains. */
export async function gateway(settings: GatewaySettings): Promise<void> {
  const { port, host, apiKeys, drainMs, replicas } = settings;
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  const completer = createGateway(settings.gateway);
  try {
    const server = await startServer({
      app: appOf(completer, settings),
      port,
      host,
      drain: (deadlineMs) => completer.drain(deadlineMs),
      drainMs,
    });
    try {
      write(`gemlet ${packageVersion()}: gateway on ${server.url}, to ${replicas.join(', ')}`);
      if (apiKeys.length === 0 && !LOOPBACK.has(host)) {
        write('Anyone who reaches this machine may use the model. Set --api-key to change that.');
      }
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
    await completer.close();
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
  }
}
