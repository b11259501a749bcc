import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { Attacker, Reads } from './attack.ts';

/** Between two tries: an attacker that is refused at once would measure its own speed only. */
const PAUSE_MS = 5;

/** What hears of an attack. */
export interface AttackEars {
  /** Everything is at hand: from now on it attacks. */
  readonly onStart: () => void;
  /** Of everything that happened to the attacker; `unanswered` goes up with a request and down again. */
  readonly count: (outcome: string, by?: number) => void;
}

export function createAttacker(url: URL, apiKey: string, { onStart, count }: AttackEars): Attacker {
  const agent = new Agent({ keepAlive: false });
  const authorization = `Bearer ${apiKey}`;

  return {
    url,
    apiKey,
    head: (method, path, headers = {}) =>
      [
        `${method} ${path} HTTP/1.1`,
        `host: ${url.host}`,
        ...Object.entries({ authorization, ...headers }).map(
          ([name, value]) => `${name}: ${value}`,
        ),
        '\r\n',
      ].join('\r\n'),

    post: (path, body, headers = {}) =>
      new Promise((resolve) => {
        count('unanswered');
        const end = (outcome: string): void => {
          count(outcome);
          count('unanswered', -1);
          setTimeout(resolve, PAUSE_MS);
        };
        const bytes = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
        const sent = request(
          new URL(path, url),
          {
            method: 'POST',
            agent,
            headers: {
              authorization,
              'content-type': 'application/json',
              'content-length': bytes.length,
              ...headers,
            },
          },
          (response) => {
            response.resume();
            response.once('end', () => end(String(response.statusCode)));
            response.once('error', (error) => end(codeOf(error)));
          },
        );
        sent.once('error', (error) => end(codeOf(error)));
        sent.end(bytes);
      }),

    open: (pieces, reads) => open(url, pieces, reads, count),

    async hold(pieces, reads) {
      const socket = await open(url, pieces, reads, count);
      if (socket !== null) await untilClosed(socket);
    },

    async forever(times, work) {
      onStart();
      const one = async (): Promise<never> => {
        for (;;) {
          await work();
          await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
        }
      };
      await Promise.all(Array.from({ length: times }, one));
    },
  };
}

function open(
  url: URL,
  pieces: readonly (string | Uint8Array)[],
  reads: Reads,
  count: (outcome: string) => void,
): Promise<Socket | null> {
  return new Promise((resolve) => {
    const socket = connect(Number(url.port), url.hostname);
    socket.once('error', (error) => {
      count(codeOf(error));
      resolve(null);
    });
    socket.once('connect', () => {
      void write(socket, pieces).then(() => resolve(socket));
      if (reads === 'nothing') return;
      socket.once('data', (data: Buffer) => {
        count(/^HTTP\/1.1 (\d+)/.exec(data.toString('latin1'))?.[1] ?? 'no HTTP');
        // The rest stays where it costs the server most.
        if (reads === 'begin') socket.pause();
        else socket.resume();
      });
    });
  });
}

export function untilClosed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once('close', () => resolve());
  });
}

async function write(socket: Socket, pieces: readonly (string | Uint8Array)[]): Promise<void> {
  for (const piece of pieces) {
    if (socket.destroyed) return;
    if (socket.write(piece)) continue;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        socket.off('drain', done).off('close', done);
        resolve();
      };
      socket.on('drain', done).on('close', done);
    });
  }
}

function codeOf(error: Error): string {
  return (error as NodeJS.ErrnoException).code ?? error.name;
}
