import { mutant } from './mutant.ts';
import { createSeededRandom } from './seeded-random.ts';

export interface FuzzOptions {
  /** Sends one request to the route under test. */
  readonly request: (init: RequestInit) => Promise<Response>;
  /** Case i uses seed + i, so that a failing case can be run alone with `count: 1`. */
  readonly seed: number;
  readonly count: number;
  /** A request body that works; mutants are made from it and it must go on working. */
  readonly goodBody: object;
  /** Milliseconds after which a request counts as hanging; 30,000 by default. */
  readonly hangMs?: number;
}

export interface FuzzReport {
  /** How often each status came. */
  readonly statuses: ReadonlyMap<number, number>;
}

/** The good body is sent again after this many mutants. */
const PROBE_EVERY = 250;

/**
 * Sends mutants of a good request and checks every answer: 2xx or 4xx in OpenAI's shape, never 5xx,
 * never a hang, and the good request goes on working.
 * @throws Error naming the seed of the failing case and the body
 */
export async function runFuzz(options: FuzzOptions): Promise<FuzzReport> {
  const statuses = new Map<number, number>();
  for (let index = 0; index < options.count; index++) {
    const seed = options.seed + index;
    const init = mutant(createSeededRandom(seed), options.goodBody);
    try {
      const response = await send(init, options);
      statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
      await check(response);
      if (index % PROBE_EVERY === PROBE_EVERY - 1) await probe(options);
    } catch (error) {
      throw new Error(`fuzz seed ${seed}: ${String(error)}\n${shown(init)}`, { cause: error });
    }
  }
  await probe(options);
  return { statuses };
}

async function probe(options: FuzzOptions): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const body = JSON.stringify(options.goodBody);
  const response = await send({ method: 'POST', headers, body }, options);
  if (response.status !== 200) throw new Error(`the good request got ${response.status}`);
  await check(response);
}

async function send(init: RequestInit, options: FuzzOptions): Promise<Response> {
  const { hangMs = 30_000 } = options;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const hang = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${hangMs} ms`)), hangMs);
  });
  const whole = async (): Promise<Response> => {
    const response = await options.request(init);
    const text = await response.text();
    const { status, headers } = response;
    return new Response(text === '' ? null : text, { status, headers });
  };
  try {
    return await Promise.race([whole(), hang]);
  } finally {
    clearTimeout(timer);
  }
}

async function check(response: Response): Promise<void> {
  const { status } = response;
  const text = await response.text();
  if (status >= 200 && status < 300) {
    const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true;
    if (isStream) checkStream(text);
    else if (text !== '' && !Array.isArray(parsed(text)['choices'])) throw new Error(`odd ${text}`);
    return;
  }
  if (status < 400 || status >= 500) throw new Error(`status ${status}: ${text}`);
  if (text === '' && status === 405) return; // HEAD has no body
  checkError(parsed(text)['error']);
  if (response.headers.get('x-request-id') === null) throw new Error('no x-request-id');
}

function checkStream(text: string): void {
  const data = text.split('\n\n').filter((line) => line.startsWith('data: '));
  if (data.at(-1) !== 'data: [DONE]') throw new Error(`the stream ends with ${data.at(-1)}`);
  for (const line of data.slice(0, -1)) {
    if (!Array.isArray(parsed(line.slice(6))['choices'])) throw new Error(`odd frame ${line}`);
  }
}

function checkError(error: unknown): void {
  const { message, type, param, code } = (error ?? {}) as Record<string, unknown>;
  const isWell =
    typeof message === 'string' &&
    message.length > 0 &&
    message.length < 1000 &&
    typeof type === 'string' &&
    typeof code === 'string' &&
    (param === null || typeof param === 'string');
  if (!isWell) throw new Error(`odd error ${JSON.stringify(error)}`);
}

function parsed(text: string): Record<string, unknown> {
  return JSON.parse(text) as Record<string, unknown>;
}

function shown(init: RequestInit): string {
  const { method, headers, body } = init;
  const text = typeof body === 'string' ? body : new TextDecoder().decode(body as Uint8Array);
  return `${method} ${JSON.stringify(headers)} ${text.slice(0, 2000)}`;
}
