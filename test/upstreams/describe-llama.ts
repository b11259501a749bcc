import { afterAll, beforeAll, describe } from 'vitest';
import { createEngine } from '../../adapters/node/create-engine.ts';
import { createFront, type Front, openFront, removeBundle, writeDemoBundle } from './front.ts';
import { type RunningLlama, startLlama } from './llama-server.ts';

/** `npm run test:upstreams` sets it: the server is built first, which takes 10 minutes. */
export const isWanted: boolean = process.env['GEMLET_UPSTREAMS'] === '1';
export const BUILD_MS = 60 * 60_000;

/** How prompts get there: without a bundle of the model, and with one. */
export type Way = 'messages' | 'ids';

export interface LlamaFronts {
  readonly front: (way: Way) => Front;
  /** Our own engine on the same weights. */
  readonly gemlet: () => Front;
  readonly llama: () => RunningLlama;
}

/** Tests against one running llama.cpp, both ways. */
export function describeLlama(
  title: string,
  define: (way: Way, fronts: LlamaFronts) => void,
): void {
  describe.skipIf(!isWanted)(`${title} (npm run test:upstreams)`, () => {
    const fronts = new Map<string, Front>();
    let running: RunningLlama | undefined;
    let bundle = '';
    beforeAll(async () => {
      running = await startLlama();
      bundle = await writeDemoBundle();
      fronts.set('messages', await openFront('--upstream', running.url));
      fronts.set('ids', await openFront('--upstream', running.url, '--bundle', bundle));
      fronts.set('gemlet', createFront(await createEngine({ precision: 'exact' })));
    }, BUILD_MS);
    afterAll(async () => {
      for (const each of fronts.values()) await each.close();
      await running?.stop();
      if (bundle !== '') await removeBundle(bundle);
    });
    const named = (name: string): Front => {
      const found = fronts.get(name);
      if (found === undefined) throw new Error(`${name} is not open`);
      return found;
    };
    const parts: LlamaFronts = {
      front: named,
      gemlet: () => named('gemlet'),
      llama() {
        if (running === undefined) throw new Error('llama.cpp does not run');
        return running;
      },
    };
    describe('by messages', () => define('messages', parts));
    describe('by ids', () => define('ids', parts));
  });
}
