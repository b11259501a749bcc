/** A server under test, wherever it runs. It serves a model whose text depends on prompt and seed only. */
export interface HttpTarget {
  /** Sends a request to a path; the answer's body streams. */
  readonly send: (path: string, init?: RequestInit) => Promise<Response>;
  /** What the engine does; absent where it cannot be seen from here. */
  readonly load?: () => Promise<EngineLoad>;
  /** Whether the server gets to know that a client went away. */
  readonly tellsGoneClients: boolean;
  /** Whether bytes that a reader does not take hold the server back. */
  readonly holdsBack: boolean;
  /** Whether answers can be fetched later; where not, `Prefer: respond-async` is ignored. */
  readonly keepsJobs: boolean;
  readonly close: () => Promise<void>;
}

export interface EngineLoad {
  /** Sequences that run or wait. */
  readonly active: number;
  /** Steps computed so far. */
  readonly steps: number;
}

/** What every target serves with. */
export const HTTP_CONTRACT = {
  apiKey: 'contract-key-of-clients',
  metricsKey: 'contract-key-of-metrics',
  origin: 'https://app.example',
  maxBodyBytes: 65_536,
  /** Long enough that an answer outgrows what sockets buffer. */
  contextTokens: 8_192,
} as const;

/** Reads the engine's load from `/metrics`. */
export async function loadFromMetrics(send: HttpTarget['send']): Promise<EngineLoad> {
  const response = await send('/metrics', {
    headers: { authorization: `Bearer ${HTTP_CONTRACT.metricsKey}` },
  });
  const text = await response.text();
  const read = (name: string): number => {
    const line = text.split('\n').find((each) => each.startsWith(`${name}{`));
    if (line === undefined) throw new Error(`/metrics (${response.status}) does not have ${name}`);
    return Number(line.slice(line.lastIndexOf(' ')));
  };
  return {
    active: read('vllm:num_requests_running') + read('vllm:num_requests_waiting'),
    steps: read('gemlet_steps_total'),
  };
}
