import { runInChild } from './children.ts';

/** Runs one part of a suite in a fresh process: `main.js` is started with `args`, and reports by message. */
export function runPart<T>(args: readonly string[]): Promise<T> {
  return runInChild('a part of the suite', './main.js', args);
}

function leave(): void {
  process.exit(1);
}

/** Measures a part in the process that {@link runPart} started, and ends with the one that asked. */
export async function reportPart(measure: () => Promise<unknown>): Promise<void> {
  // One that nobody waits for would slow down whatever is measured next.
  process.once('disconnect', leave);
  const value = await measure();
  await new Promise<void>((resolve) => {
    process.send?.({ value }, () => resolve());
  });
  process.off('disconnect', leave);
}
