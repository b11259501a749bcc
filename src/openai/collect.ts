import type { CompletionEvent, TokenReport } from '../completer.ts';
import type { FinishReason } from '../engine/engine.ts';
import { ServeError } from '../errors.ts';

/** One finished completion. */
export interface CollectedChoice {
  readonly text: string;
  readonly tokens: readonly TokenReport[];
  readonly reason: FinishReason;
  readonly stopReason: string | number | null;
}

/** All completions of one prompt. */
export interface Collected {
  /** Reports of the prompt's tokens, when asked for. */
  readonly prompt: readonly TokenReport[] | null;
  readonly choices: readonly CollectedChoice[];
}

/** Gathers the events of one prompt into whole answers. */
export interface Collector {
  add(event: CompletionEvent): void;
  /** @throws ServeError internal when the events ended before every choice had finished */
  result(): Collected;
}

export function createCollector(choiceCount: number): Collector {
  const texts: string[] = Array.from({ length: choiceCount }, () => '');
  const tokens: TokenReport[][] = Array.from({ length: choiceCount }, () => []);
  const finishes = new Map<number, Extract<CompletionEvent, { type: 'finish' }>>();
  let prompt: readonly TokenReport[] | null = null;
  return {
    add(event) {
      if (event.type === 'start') prompt = event.prompt;
      else if (event.type === 'finish') finishes.set(event.index, event);
      else {
        texts[event.index] += event.text;
        for (const token of event.tokens) tokens[event.index]?.push(token);
      }
    },
    result() {
      const choices = texts.map((text, index): CollectedChoice => {
        const finish = finishes.get(index);
        if (finish === undefined) throw unfinished();
        const { reason, stopReason } = finish;
        return { text, tokens: tokens[index] ?? [], reason, stopReason };
      });
      return { prompt, choices };
    },
  };
}

/** The completer broke its contract: its events ended without a finish for every choice. */
export function unfinished(): ServeError {
  return new ServeError('internal', 'The completion ended before it was finished.');
}
