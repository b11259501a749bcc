import { startServer } from '../../adapters/node/server.ts';
import { createApp } from '../../src/app.ts';
import { createMemorySessionTable } from '../../src/fleet/memory-sessions.ts';
import { createPool } from '../../src/fleet/pool.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { describeHttp } from '../contracts/http.ts';
import { HTTP_CONTRACT, type HttpTarget, loadFromMetrics } from '../contracts/http-target.ts';
import { createContractApp, createContractCompleter } from '../support/contract-app.ts';
import { createTestGateway, fakeFleetModel, FLEET_KEYS } from '../support/fleet-harness.ts';

const ABLE = { tellsGoneClients: true, holdsBack: true, keepsJobs: true } as const;

describeHttp('the app in this process', async () => {
  const app = createContractApp();
  const send: HttpTarget['send'] = async (path, init) => app.request(path, init);
  return { ...ABLE, send, load: () => loadFromMetrics(send), close: async () => undefined };
});

describeHttp('the Node.js server over loopback', async () => {
  const server = await startServer({ app: createContractApp(), port: 0 });
  const send: HttpTarget['send'] = (path, init) => fetch(`${server.url}${path}`, init);
  return { ...ABLE, send, load: () => loadFromMetrics(send), close: () => server.close() };
});

describeHttp('a gateway and two replicas over loopback', async () => {
  const replicas = await Promise.all(
    [createContractCompleter(), createContractCompleter()].map(async (completer) => {
      const app = createApp({ completer, fleetKeys: FLEET_KEYS });
      return { completer, server: await startServer({ app, port: 0 }) };
    }),
  );
  const gateway = createTestGateway(
    { fetch: (url, init) => fetch(url, init) },
    createPool({ replicas: replicas.map(({ server }) => server.url), clock: systemClock }),
    createMemorySessionTable({ clock: systemClock }),
    { describe: async () => fakeFleetModel(HTTP_CONTRACT.contextTokens) },
  );
  await gateway.ready?.();
  const front = await startServer({ app: createContractApp(gateway), port: 0 });
  return {
    ...ABLE,
    send: (path, init) => fetch(`${front.url}${path}`, init),
    async load() {
      const stats = replicas.map(({ completer }) => completer.stats?.());
      const sum = (read: (one: NonNullable<(typeof stats)[0]>) => number): number =>
        stats.reduce((total, one) => total + (one === undefined ? 0 : read(one)), 0);
      return {
        active: sum(({ running, waiting }) => running + waiting),
        steps: sum(({ totals }) => totals.steps),
      };
    },
    async close() {
      await front.close();
      await gateway.close();
      await Promise.all(replicas.map(({ server }) => server.close()));
    },
  };
});
