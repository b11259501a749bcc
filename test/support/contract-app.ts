import { fakeModelConfig } from '../../adapters/fake/config.ts';
import { createApp } from '../../src/app.ts';
import type { Completer } from '../../src/completer.ts';
import { HTTP_CONTRACT } from '../contracts/http-target.ts';
import { createFakeEngineCompleter } from './fake-engine-completer.ts';

/** Steps after which the fake device lets others run, as a real one does in every step. */
const STEPS_A_TURN = 32;

/** The app that the HTTP contract is checked on. */
export function createContractApp(
  completer: Completer = createContractCompleter(),
): ReturnType<typeof createApp> {
  const { apiKey, metricsKey, origin, maxBodyBytes } = HTTP_CONTRACT;
  return createApp({
    completer,
    apiKeys: [apiKey],
    metricsKeys: [metricsKey],
    cors: { origins: [origin] },
    limits: { maxBodyBytes },
  });
}

/** What computes the answers of the contract. */
export function createContractCompleter(): Completer {
  const config = fakeModelConfig({ maxPositions: HTTP_CONTRACT.contextTokens });
  let steps = 0;
  const beforeForward = async (): Promise<void> => {
    if (++steps % STEPS_A_TURN === 0) await new Promise((resolve) => setTimeout(resolve, 0));
  };
  return createFakeEngineCompleter({}, { config, beforeForward }).completer;
}
