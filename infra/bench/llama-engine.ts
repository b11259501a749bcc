import koffi from 'koffi';
import type { BenchEngine, EngineSettings } from './bench-engine.ts';
import { MAX_CORES, openLlamaLibrary } from './llama-library.ts';
import type { LlamaBatch, LlamaLibrary, Pointer } from './llama-library.ts';
import { libraryFolder } from './llama-tool.ts';

export interface LlamaSettings extends EngineSettings {
  /** Folder that `ensureLlamaTool` filled. */
  readonly toolFolder: string;
  readonly gguf: string;
  readonly flashAttention: boolean;
}

/** llama.cpp's best batch on two cores in our trials; also its default. */
export const BATCH_TOKENS = 512;
/** How long idle threads look for work before they sleep, 0..100; the default of its programs. */
const POLL = 50;

/** Tokens of one sequence in a batch; `wantsLast` asks for the logits of the last. */
export interface LlamaPart {
  readonly sequence: number;
  readonly start: number;
  readonly tokens: Int32Array;
  readonly wantsLast: boolean;
}

/** llama.cpp with a model and a context, ready to compute. */
export interface OpenLlama {
  readonly label: string;
  /** One `llama_decode`. At most BATCH_TOKENS tokens. Blocks, as in its own programs. */
  decode(parts: readonly LlamaPart[]): void;
  /** A copy of the logits after token `index` of the last batch, [vocabSize]. */
  logits(index: number): Float32Array;
  clear(sequence: number): void;
  close(): void;
}

/**
 * llama.cpp on the CPU through its C API, set up as its server and its own bench set it up: a thread
 * pool that lives as long as the context and spins for work, weights memory-mapped and repacked for
 * the CPU, F16 keys and values, sequences apart, local layers with a cache of their window.
 * @param sequences each with a context of its own
 */
export function openLlama(settings: LlamaSettings, sequences: number): OpenLlama {
  const library = openLlamaLibrary(libraryFolder(settings.toolFolder));
  const attention = settings.flashAttention ? 'on' : 'off';
  const model = existing(
    library.loadModel(settings.gguf, { ...library.modelDefaults(), n_gpu_layers: 0 }),
    'load the model',
  );
  const context = existing(
    library.createContext(model, {
      ...library.contextDefaults(),
      n_ctx: settings.contextTokens * sequences,
      n_batch: BATCH_TOKENS,
      n_ubatch: BATCH_TOKENS,
      n_seq_max: sequences,
      n_threads: settings.threads,
      n_threads_batch: settings.threads,
      flash_attn_type: settings.flashAttention ? 1 : 0,
      swa_full: false,
    }),
    'create a context',
  );
  const pool = existing(
    library.createThreadPool({
      cpumask: Array.from({ length: MAX_CORES }, () => false),
      n_threads: settings.threads,
      prio: 0,
      poll: POLL,
      strict_cpu: false,
      paused: false,
    }),
    'start its threads',
  );
  library.attachThreadPool(context, pool, pool);
  const memory = library.memoryOf(context);
  const batch = createBatch(library);
  return {
    label: `llama.cpp ${library.release}, flash attention ${attention}`,
    decode(parts) {
      const status = library.decode(context, batch.fill(parts));
      if (status !== 0) throw new Error(`llama_decode failed with ${status}`);
    },
    logits(index) {
      const pointer = existing(library.logits(context, index), 'give logits');
      return new Float32Array(koffi.view(pointer, library.vocabSize(model) * 4)).slice();
    },
    clear(sequence) {
      library.removeTokens(memory, sequence, 0, -1);
    },
    close() {
      batch.free();
      library.freeContext(context);
      library.freeThreadPool(pool);
      library.freeModel(model);
    },
  };
}

function existing(pointer: Pointer | null, what: string): Pointer {
  if (pointer === null) throw new Error(`llama.cpp could not ${what}`);
  return pointer;
}

/** A batch of llama.cpp's own making, filled through views of its memory. */
function createBatch(library: LlamaLibrary): {
  fill(parts: readonly LlamaPart[]): LlamaBatch;
  free(): void;
} {
  const batch = library.createBatch(BATCH_TOKENS, 0, 1);
  const view = (pointer: Pointer): Int32Array =>
    new Int32Array(koffi.view(pointer, BATCH_TOKENS * 4));
  const tokens = view(batch.token);
  const positions = view(batch.pos);
  const sequenceCounts = view(batch.n_seq_id);
  const wanted = new Int8Array(koffi.view(batch.logits, BATCH_TOKENS));
  const lists = koffi.decode(batch.seq_id, 'void *', BATCH_TOKENS) as Pointer[];
  const sequences = lists.map((list) => new Int32Array(koffi.view(list, 4)));
  return {
    fill(parts) {
      let at = 0;
      for (const part of parts) {
        for (const [i, token] of part.tokens.entries()) {
          tokens[at] = token;
          positions[at] = part.start + i;
          sequenceCounts[at] = 1;
          sequences[at]?.fill(part.sequence);
          wanted[at] = part.wantsLast && i === part.tokens.length - 1 ? 1 : 0;
          at++;
        }
      }
      return { ...batch, n_tokens: at };
    },
    free: () => library.freeBatch(batch),
  };
}

/** llama.cpp with one sequence. */
export function createLlamaEngine(settings: LlamaSettings): BenchEngine {
  const llama = openLlama(settings, 1);
  let length = 0;
  let logitIndex = -1;
  return {
    label: llama.label,
    extend: async (tokens) => {
      for (let start = 0; start < tokens.length; start += BATCH_TOKENS) {
        const part = tokens.subarray(start, start + BATCH_TOKENS);
        const wantsLast = start + part.length === tokens.length;
        llama.decode([{ sequence: 0, start: length, tokens: part, wantsLast }]);
        logitIndex = part.length - 1;
        length += part.length;
      }
    },
    logits: async () => llama.logits(logitIndex),
    reset: () => {
      llama.clear(0);
      length = 0;
    },
    close: async () => llama.close(),
  };
}
