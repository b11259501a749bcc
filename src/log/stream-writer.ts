/** What is used of a stream such as `process.stdout`. */
export interface LogStream {
  /** Characters or bytes that wait to be taken. */
  readonly writableLength: number;
  write(text: string): unknown;
  on(event: 'error', listener: (error: unknown) => void): unknown;
}

/** A reader that has stopped reading costs no more memory than this. */
const MAX_WAITING = 1 << 20;

/**
 * Writes lines to a stream without ever waiting for it or growing without bound: what a slow reader has
 * no room for is lost, and so is everything once the stream is broken, as a closed pipe is.
 * @example
 * const log = createRequestLog({ write: createStreamWriter(process.stdout) });
 */
export function createStreamWriter(stream: LogStream): (line: string) => boolean {
  let isBroken = false;
  // Without a listener the error of a closed pipe ends the process.
  stream.on('error', () => {
    isBroken = true;
  });
  return (line) => {
    if (isBroken || stream.writableLength + line.length > MAX_WAITING) return false;
    stream.write(`${line}\n`);
    return true;
  };
}
