import { runSpec } from './runner.ts';
import type { RunSpec } from './runner.ts';

// Entry of the child process: a RunSpec comes in as a message, a RunResult goes back as a ChildAnswer.
process.once('disconnect', () => process.exit(1));
process.once('message', (spec: RunSpec) => {
  runSpec(spec).then(
    (value) => process.send?.({ value }, () => process.exit(0)),
    (error: unknown) => {
      const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
      process.send?.({ error: message }, () => process.exit(1));
    },
  );
});
