import { afterAll, beforeAll, describe } from 'vitest';
import { describeHttpAnswers } from './http-answers.ts';
import { describeHttpEdges } from './http-edges.ts';
import { describeHttpStreams } from './http-streams.ts';
import type { HttpTarget } from './http-target.ts';

/**
 * What every server of the API does, wherever it runs and whatever stands between it and the engine.
 * @param open starts one that serves as `HTTP_CONTRACT` says; all tests share it
 */
export function describeHttp(name: string, open: () => Promise<HttpTarget>): void {
  describe(name, () => {
    let target: HttpTarget | undefined;
    const opened = (): HttpTarget => {
      if (target === undefined) throw new Error('the server is not open');
      return target;
    };
    beforeAll(async () => {
      target = await open();
    });
    afterAll(() => target?.close());
    describeHttpAnswers(opened);
    describeHttpStreams(opened);
    describeHttpEdges(opened);
  });
}
