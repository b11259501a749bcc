import type { ChildAnswer } from '../bench/children.ts';
import { type Watched, watch, type WatchRequest } from './watch.ts';

// Watches in a process of its own: what the attacker and the server do there must not show up as theirs.

process.once('message', (message) => {
  void watch(message as WatchRequest).then(
    (value) => answer({ value }),
    (error: unknown) => answer({ error: String(error) }),
  );
});

function answer(answered: ChildAnswer<Watched>): void {
  process.send?.(answered, () => process.exit());
}
