import type { Clock } from '../lib/clock.ts';

/** What every object of one answer repeats. */
export interface AnswerMeta {
  readonly id: string;
  readonly createdSeconds: number;
  readonly model: string;
}

/** @param prefix `chatcmpl` or `cmpl` */
export function createAnswerMeta(prefix: string, model: string, clock: Clock): AnswerMeta {
  const id = `${prefix}-${crypto.randomUUID().replaceAll('-', '')}`;
  return { id, createdSeconds: Math.floor(clock.now() / 1000), model };
}
