import { startServer } from '../../adapters/node/server.ts';
import { describeHttp } from '../contracts/http.ts';
import { type HttpTarget, loadFromMetrics } from '../contracts/http-target.ts';
import { createContractApp } from '../support/contract-app.ts';

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
