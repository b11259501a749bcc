import { describeHttp } from '../../contracts/http.ts';
import { HTTP_CONTRACT, type HttpTarget } from '../../contracts/http-target.ts';
import { startEdgeFleet } from '../../support/edge-fleet.ts';

describeHttp('the Worker in workerd, in front of a replica', async () => {
  const { apiKey, contextTokens, maxBodyBytes, origin } = HTTP_CONTRACT;
  const fleet = await startEdgeFleet({
    contextTokens,
    vars: { API_KEYS: apiKey, CORS_ORIGINS: origin, MAX_BODY_BYTES: String(maxBodyBytes) },
  });
  const [replica] = fleet.replicas;
  // workerd closes a connection whose request it did not read to its end, sometimes while the next one is on its
  // way; so each has a connection of its own.
  const send: HttpTarget['send'] = (path, init) => {
    const headers = new Headers(init?.headers);
    headers.set('connection', 'close');
    return fetch(`${fleet.worker.url}${path}`, { ...init, headers });
  };
  return {
    send,
    async load() {
      const stats = replica?.completer.stats?.();
      if (stats === undefined) throw new Error('the replica tells nothing');
      return { active: stats.running + stats.waiting, steps: stats.totals.steps };
    },
    // workerd on its own only notices when it writes; worker.test.ts looks at streams.
    tellsGoneClients: false,
    holdsBack: true,
    keepsJobs: false,
    close: () => fleet.close(),
  };
});
