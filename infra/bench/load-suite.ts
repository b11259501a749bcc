import { whole } from './arguments.ts';
import { inspect, parseArgs } from 'node:util';
import { startLoadServer, type LoadServer } from './load-server.ts';
import { loadSessions, type SessionsResult } from './load-sessions.ts';
import { loadStreams, type StreamsResult } from './load-streams.ts';
import { recordResults } from './results.ts';

export const LOAD_USAGE = `Usage: npm run bench -- load [options]

Load on a server of its own with the demo model, over loopback: many streams for a while, then many
sessions of several turns, both under a page budget that forces eviction. Some sessions are asked
again with nothing to reuse. Fails when a request did, or when an answer differs.

  --streams N       concurrent streams; default 256, 0 leaves that part out
  --seconds N       default 60
  --sessions N      default 1000, 0 leaves that part out; none starts after 10 minutes
  --turns N         turns of each session; default 6
  --concurrency N   sessions at once; default 64
  --help
`;

/** The budget is a tenth of what all sessions would need, and full early: memory then must not grow. */
const SERVER_FLAGS = ['--slots', '16', '--queue', '1024', '--kv-budget', '64MB'];
const SESSIONS_LIMIT_SECONDS = 600;
const CHECK_EVERY = 20;

export async function runLoad(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      streams: { type: 'string', default: '256' },
      seconds: { type: 'string', default: '60' },
      sessions: { type: 'string', default: '1000' },
      turns: { type: 'string', default: '6' },
      concurrency: { type: 'string', default: '64' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(LOAD_USAGE);
    return;
  }
  const streamCount = whole('--streams', values.streams, 0);
  const seconds = whole('--seconds', values.seconds, 1);
  const count = whole('--sessions', values.sessions, 0);
  const turns = whole('--turns', values.turns, 1);
  const concurrency = whole('--concurrency', values.concurrency, 1);
  const format = ({ streams, sessions }: LoadResults): string =>
    [
      ...(streams === undefined ? [] : [`${streamCount} streams for ${seconds} s:`, show(streams)]),
      ...(sessions === undefined ? [] : [`${count} sessions of ${turns} turns:`, show(sessions)]),
    ].join('\n');
  const planned = Math.sign(streamCount) + Math.sign(count);
  const { streams, sessions } = await recordResults<LoadResults>(
    { suite: 'load', planned, format },
    async (keep) => {
      let results: LoadResults = {};
      if (streamCount > 0) {
        results = {
          streams: await withServer(SERVER_FLAGS, (server) =>
            loadStreams(server, streamCount, seconds),
          ),
        };
        keep(results);
      }
      if (count > 0) {
        const options = { count, turns, concurrency, limitSeconds: SESSIONS_LIMIT_SECONDS };
        results = {
          ...results,
          sessions: await withServer(SERVER_FLAGS, (server) =>
            loadSessions(server, { ...options, checkEvery: CHECK_EVERY }),
          ),
        };
        keep(results);
      }
      return results;
    },
  );
  const errors = (streams?.errors ?? 0) + (sessions?.errors ?? 0);
  const different = sessions?.check.different ?? 0;
  if (errors + different > 0) {
    throw new Error(`${errors} requests failed, ${different} answers differ from fresh ones`);
  }
}

interface LoadResults {
  readonly streams?: StreamsResult;
  readonly sessions?: SessionsResult;
}

function show(result: object): string {
  return inspect(result, { depth: null });
}

async function withServer<T>(
  flags: readonly string[],
  work: (server: LoadServer) => Promise<T>,
): Promise<T> {
  const server = await startLoadServer(flags);
  try {
    return await work(server);
  } finally {
    await server.close();
  }
}
