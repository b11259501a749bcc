import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';

/** Whom to watch. */
export interface WatchRequest {
  readonly url: string;
  /** Of the user who is not the attacker. */
  readonly apiKey: string;
  /** Of the process that answers. */
  readonly pid: number;
  readonly seconds: number;
}

/** What another user, and a load balancer, saw meanwhile. */
export interface Watched {
  /** Of each request for two tokens that was answered, in ms. */
  readonly answersMs: readonly number[];
  readonly failures: number;
  readonly firstFailure: string | null;
  /** Longest answer of `/health/live`, in ms; this is how long the event loop stood still at most. */
  readonly longestLiveMs: number;
  /** The same, without the time in which either process waited for a core of a busy machine. */
  readonly longestStallMs: number;
  readonly liveFailures: number;
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

const LIVE_EVERY_MS = 20;
const ASK_EVERY_MS = 50;
/** After which another user has given up. */
const PATIENCE_MS = 15_000;
const QUESTION = {
  messages: [{ role: 'user', content: 'Hello!' }],
  max_tokens: 2,
  ignore_eos: true,
};

/** Asks for two tokens again and again, and whether the server lives, until the time is over. */
export async function watch({ url, apiKey, pid, seconds }: WatchRequest): Promise<Watched> {
  const untilMs = performance.now() + seconds * 1000;
  const [asked, probed] = await Promise.all([
    ask(new URL('/v1/chat/completions', url), apiKey, untilMs),
    probe(new URL('/health/live', url), pid, untilMs),
  ]);
  return { ...asked, ...probed };
}

async function ask(
  url: URL,
  apiKey: string,
  untilMs: number,
): Promise<Pick<Watched, 'answersMs' | 'failures' | 'firstFailure'>> {
  const answersMs: number[] = [];
  const failures: string[] = [];
  // A connection each, as of users who come and go.
  const agent = new Agent({ keepAlive: false });
  while (performance.now() < untilMs) {
    const startMs = performance.now();
    try {
      const { status, text } = await send(url, agent, apiKey);
      if (status === 200) answersMs.push(performance.now() - startMs);
      else failures.push(`${status}: ${text.slice(0, 300)}`);
    } catch (error) {
      failures.push(String(error));
    }
    await pause(ASK_EVERY_MS);
  }
  return { answersMs, failures: failures.length, firstFailure: failures[0] ?? null };
}

async function probe(
  url: URL,
  pid: number,
  untilMs: number,
): Promise<Pick<Watched, 'longestLiveMs' | 'longestStallMs' | 'liveFailures'>> {
  let longestLiveMs = 0;
  let longestStallMs = 0;
  let liveFailures = 0;
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  while (performance.now() < untilMs) {
    const startMs = performance.now();
    const waitedMs = coreWaitMs(pid) + coreWaitMs(process.pid);
    try {
      const { status } = await send(url, agent, null);
      if (status !== 200) liveFailures++;
    } catch {
      liveFailures++;
    }
    const tookMs = performance.now() - startMs;
    longestLiveMs = Math.max(longestLiveMs, tookMs);
    const busyMs = coreWaitMs(pid) + coreWaitMs(process.pid) - waitedMs;
    longestStallMs = Math.max(longestStallMs, tookMs - Math.max(0, busyMs));
    await pause(LIVE_EVERY_MS);
  }
  agent.destroy();
  return { longestLiveMs, longestStallMs, liveFailures };
}

/** Time that a process's main thread was ready to run and got no core, in ms; 0 where that is not told. */
function coreWaitMs(pid: number): number {
  try {
    const [, waitNs] = readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ');
    return Number(waitNs) / 1e6;
  } catch {
    return 0; // it has ended, or this is not Linux
  }
}

/** Posts the question with a key, and gets without one. */
function send(url: URL, agent: Agent, apiKey: string | null): Promise<Answer> {
  const post = {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
  };
  const signal = AbortSignal.timeout(PATIENCE_MS);
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent, signal, ...(apiKey === null ? {} : post) }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => (text += piece));
      response.once('end', () => resolve({ status: response.statusCode ?? 0, text }));
      response.once('error', reject);
    });
    sent.once('error', reject);
    sent.end(apiKey === null ? undefined : JSON.stringify(QUESTION));
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
