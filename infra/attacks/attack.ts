import type { Socket } from 'node:net';

/** What an attack runs against. */
export type Target =
  /** `gemlet serve` */
  | 'serve'
  /** `gemlet serve` that takes calls of gateways */
  | 'replica'
  /** `gemlet serve` with a store of conversations on disk */
  | 'store'
  /** `gemlet gateway` over two replicas */
  | 'gateway';

/** One way to hurt other users, as a client loop. */
export interface Attack {
  /** Such as `jobs-bodies`. */
  readonly name: string;
  /** What it was called when it was found, such as `H4`; `held` was never a danger. */
  readonly finding: string;
  /** What the loop does, for people. */
  readonly what: string;
  readonly targets: readonly Target[];
  /** Attacks until the process is ended. */
  readonly run: (attacker: Attacker) => Promise<void>;
}

/** What an attack attacks with. */
export interface Attacker {
  readonly url: URL;
  /** Of the attacking user; the other user's is never known here. */
  readonly apiKey: string;
  /** Posts JSON, or JSON as text, and waits for the whole answer; a failure is counted, not thrown. */
  readonly post: (path: string, body: object | string, headers?: Headers) => Promise<void>;
  /** Opens a connection and writes; what becomes of it is counted. */
  readonly open: (pieces: readonly (string | Uint8Array)[], reads: Reads) => Promise<Socket | null>;
  /** The same, and waits until the server has closed it. */
  readonly hold: (pieces: readonly (string | Uint8Array)[], reads: Reads) => Promise<void>;
  /** Head of a request that is written by hand. */
  readonly head: (method: string, path: string, headers?: Headers) => string;
  /** Does so `count` times at once, each for ever. */
  readonly forever: (count: number, work: () => Promise<void>) => Promise<void>;
}

/** How much of an answer is taken: all, what comes first, or nothing. */
export type Reads = 'all' | 'begin' | 'nothing';

type Headers = Readonly<Record<string, string>>;

/** How often each thing happened to the attacker: a status, or the code of a broken connection. */
export type Outcomes = Readonly<Record<string, number>>;
