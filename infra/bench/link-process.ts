import { startChild } from './children.ts';
import { startLinkServer } from './link-server.ts';

/** Runs `work` beside a process of its own that serves `folder` over a link of so many Gbit/s. */
export async function withLink<T>(
  folder: string,
  gigabits: number,
  work: (origin: string) => Promise<T>,
): Promise<T> {
  const settings = JSON.stringify({ folder, bytesPerSecond: (gigabits * 1e9) / 8 });
  const server = startChild('./main.js', ['cold', '--serve', settings]);
  try {
    const origin = await new Promise<string>((resolve, reject) => {
      server.once('message', (message: { readonly origin: string }) => resolve(message.origin));
      server.once('exit', () => reject(new Error('the store ended early')));
    });
    return await work(origin);
  } finally {
    server.kill();
  }
}

/** The other process: tells where it listens, and ends with the one that asked. */
export async function serveLink(settings: string): Promise<void> {
  const { folder, bytesPerSecond } = JSON.parse(settings) as {
    folder: string;
    bytesPerSecond: number;
  };
  process.once('disconnect', () => process.exit(0));
  const { origin } = await startLinkServer(folder, bytesPerSecond);
  process.send?.({ origin });
}
