import type { AttemptFailure } from './fleet-error.ts';
import type { FleetEvent } from './remote-engine.ts';

/** Counters since the gateway was created. */
export interface FleetStats {
  /** Attempts that came to nothing, by why. */
  readonly failedAttempts: Readonly<Record<AttemptFailure, number>>;
  /** Turns that another replica answered than the one before. */
  readonly movedSessions: number;
  /** Answers that had begun and went on at another replica. */
  readonly continuedAnswers: number;
}

export function createFleetCounters(): { count(event: FleetEvent): void; stats(): FleetStats } {
  const failedAttempts = { final: 0, cold: 0, refused: 0, gone: 0, lost: 0 };
  let movedSessions = 0;
  let continuedAnswers = 0;
  return {
    count(event) {
      switch (event.type) {
        case 'attempt-failed':
          failedAttempts[event.failure]++;
          return;
        case 'session-moved':
          movedSessions++;
          return;
        case 'answer-continued':
          continuedAnswers++;
          return;
        case 'replica-down':
        case 'replica-up':
          return;
        default:
          event satisfies never;
      }
    },
    stats: () => ({ failedAttempts: { ...failedAttempts }, movedSessions, continuedAnswers }),
  };
}
