import { ServeError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { Backend, StepLogits } from './backend.ts';
import type { EngineEvent } from './engine-event.ts';
import type { KvMemory } from './kv/kv-memory.ts';
import type { DraftPlan, Plan } from './scheduler.ts';
import type { Sequence } from './sequence.ts';
import type { Speculation } from './speculation.ts';
import type { StepMeter } from './step-meter.ts';
import { asServeError, toForwardStep, type Update } from './step.ts';

export interface StepRunnerOptions {
  readonly backend: Backend;
  readonly kv: KvMemory;
  readonly update: Update;
  readonly speculation: Speculation<Sequence> | null;
  readonly meter: StepMeter;
  readonly clock: Clock;
  readonly onEvent: (event: EngineEvent) => void;
}

/** Returns what computes a plan and moves its sequences on; a step that fails ends them. */
export function createStepRunner(
  options: StepRunnerOptions,
): (plan: Plan<Sequence>) => Promise<void> {
  const { backend, kv, speculation, meter, clock, onEvent } = options;

  /** Cuts what was guessed wrong off the row. */
  function endDraft({ sequence, tokens }: DraftPlan<Sequence>, before: number, ms: number): void {
    const { computed, row } = sequence;
    speculation?.observeDraft(sequence, tokens.length, computed - before - 1, ms);
    // The window is there: the step began further back, and kept the window before its own start.
    if (row !== null && backend.truncate(row, computed) === computed) return;
    fail([sequence], new ServeError('internal', 'A row could not be cut back after a draft.'));
  }

  return async (plan) => {
    const startedMs = clock.now();
    const users = usersOf(plan);
    let logits: StepLogits;
    try {
      logits = await backend.forward(toForwardStep(plan));
    } catch (error) {
      onEvent({ type: 'step-failed', error });
      fail(users, asServeError(error, 'A step of the model'));
      return;
    }
    const nowMs = clock.now();
    const durationMs = Math.max(0, nowMs - startedMs);
    const { decode, chunk, draft } = plan;
    const chunkTokens = chunk === null ? 0 : chunk.end - chunk.start;
    meter.observe(plan, durationMs);
    onEvent({
      type: 'step',
      decodeCount: draft === null ? decode.length : 1,
      draftTokens: draft?.tokens.length ?? 0,
      chunkTokens,
      durationMs,
    });
    const before = draft?.sequence.computed ?? 0;
    options.update(plan, logits, nowMs);
    if (draft !== null) endDraft(draft, before, durationMs);
    else if (decode.length === 1 && chunk === null) speculation?.observeDecode(durationMs);
    await kv.keepPages(users.filter(({ isBroken, isDistrusted }) => !isBroken && !isDistrusted));
    meter.phases.add('rowMoves', Math.max(0, clock.now() - nowMs));
  };
}

function usersOf({ decode, chunk, draft }: Plan<Sequence>): readonly Sequence[] {
  if (draft !== null) return [draft.sequence];
  return chunk === null ? decode : [...decode, chunk.sequence];
}

function fail(sequences: readonly Sequence[], failure: ServeError): void {
  for (const sequence of sequences) {
    sequence.isBroken = true;
    sequence.fail(failure);
  }
}
