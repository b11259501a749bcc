import { startChild } from '../bench/children.ts';
import type { Outcomes } from './attack.ts';

/** A process that attacks. */
export interface RunningAttacker {
  /** Stops it, and tells what became of its tries. */
  outcomes(): Promise<Outcomes>;
  kill(): void;
}

/** Its first message. */
export const STARTED = 'started';

/** One that does not answer is too busy to be asked. */
const OUTCOMES_MS = 3_000;

/**
 * Resolves once it attacks: large bodies and pictures are made before.
 * @throws Error when it ends before
 */
export async function startAttacker(
  name: string,
  url: string,
  apiKey: string,
): Promise<RunningAttacker> {
  const child = startChild('../attacks/attacker-main.js', [name, url, apiKey]);
  await new Promise<void>((resolve, reject) => {
    child.once('message', () => resolve());
    child.once('close', () => reject(new Error(`the attacker ${name} ended early`)));
  });
  return {
    outcomes: () =>
      new Promise((resolve) => {
        const timer = setTimeout(() => resolve({ 'no report': 1 }), OUTCOMES_MS);
        const end = (outcomes: Outcomes): void => {
          clearTimeout(timer);
          resolve(outcomes);
        };
        child.once('message', (outcomes) => end(outcomes as Outcomes));
        child.once('close', () => end({ 'ended early': 1 }));
        if (child.connected) child.send('stop');
        else end({ 'ended early': 1 });
      }),
    kill: () => void child.kill('SIGKILL'),
  };
}
