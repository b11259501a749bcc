import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import koffi from 'koffi';

/** A pointer to something of llama.cpp's. */
export type Pointer = bigint;

/** What the bench calls of llama.cpp's C API (llama.h, ggml.h, ggml-backend.h). */
export interface LlamaLibrary {
  /** Such as v0.5.0. */
  readonly release: string;
  readonly modelDefaults: () => Record<string, unknown>;
  readonly contextDefaults: () => Record<string, unknown>;
  readonly loadModel: (path: string, params: object) => Pointer | null;
  /** Tokens of the vocabulary: the width of the logits. */
  readonly vocabSize: (model: Pointer) => number;
  readonly freeModel: (model: Pointer) => void;
  readonly createContext: (model: Pointer, params: object) => Pointer | null;
  readonly freeContext: (context: Pointer) => void;
  readonly createThreadPool: (params: object) => Pointer | null;
  readonly freeThreadPool: (pool: Pointer) => void;
  readonly attachThreadPool: (context: Pointer, decode: Pointer, batch: Pointer) => void;
  readonly createBatch: (tokens: number, embedding: number, sequences: number) => LlamaBatch;
  readonly freeBatch: (batch: LlamaBatch) => void;
  /** 0 is success. */
  readonly decode: (context: Pointer, batch: LlamaBatch) => number;
  /** Float[vocabSize] of the token at `index` of the last batch, valid until the next one. */
  readonly logits: (context: Pointer, index: number) => Pointer | null;
  readonly memoryOf: (context: Pointer) => Pointer;
  /** Removes tokens [from, to) of a sequence; -1 is the end. */
  readonly removeTokens: (memory: Pointer, sequence: number, from: number, to: number) => boolean;
}

export interface LlamaBatch {
  n_tokens: number;
  readonly token: Pointer;
  readonly pos: Pointer;
  readonly n_seq_id: Pointer;
  readonly seq_id: Pointer;
  readonly logits: Pointer;
}

const MODEL_PARAMS = {
  devices: 'void *',
  tensor_buft_overrides: 'void *',
  n_gpu_layers: 'int32',
  split_mode: 'int',
  load_mode: 'int',
  lazy_mode: 'int',
  main_gpu: 'int32',
  tensor_split: 'void *',
  progress_callback: 'void *',
  progress_callback_user_data: 'void *',
  kv_overrides: 'void *',
  vocab_only: 'bool',
  check_tensors: 'bool',
  use_extra_bufts: 'bool',
  no_host: 'bool',
  no_alloc: 'bool',
  load_mtp: 'bool',
};

const CONTEXT_PARAMS = {
  n_ctx: 'uint32',
  n_batch: 'uint32',
  n_ubatch: 'uint32',
  n_seq_max: 'uint32',
  n_rs_seq: 'uint32',
  n_outputs_max: 'uint32',
  n_outputs_max_per_seq: 'uint32',
  n_threads: 'int32',
  n_threads_batch: 'int32',
  ctx_type: 'int',
  rope_scaling_type: 'int',
  pooling_type: 'int',
  attention_type: 'int',
  flash_attn_type: 'int',
  rope_freq_base: 'float',
  rope_freq_scale: 'float',
  yarn_ext_factor: 'float',
  yarn_attn_factor: 'float',
  yarn_beta_fast: 'float',
  yarn_beta_slow: 'float',
  yarn_orig_ctx: 'uint32',
  defrag_thold: 'float',
  cb_eval: 'void *',
  cb_eval_user_data: 'void *',
  type_k: 'int',
  type_v: 'int',
  abort_callback: 'void *',
  abort_callback_data: 'void *',
  embeddings: 'bool',
  offload_kqv: 'bool',
  no_perf: 'bool',
  op_offload: 'bool',
  swa_full: 'bool',
  kv_unified: 'bool',
  samplers: 'void *',
  n_samplers: 'size_t',
  ctx_other: 'void *',
};

const BATCH = {
  n_tokens: 'int32',
  token: 'void *',
  embd: 'void *',
  pos: 'void *',
  n_seq_id: 'void *',
  seq_id: 'void *',
  logits: 'void *',
};

/** Cores a thread pool can name; ggml.h, GGML_MAX_N_THREADS. */
export const MAX_CORES = 512;

const opened = new Map<string, LlamaLibrary>();

/** {@link loadLlamaLibrary} once a folder and process: names of native types cannot be given twice. */
export function openLlamaLibrary(folder: string): LlamaLibrary {
  const library = opened.get(folder) ?? loadLlamaLibrary(folder);
  opened.set(folder, library);
  return library;
}

/**
 * Opens llama.cpp's shared libraries and picks the variant of its CPU code that is best here, as its
 * own programs do. The structs are those of the pinned release: another one needs another look.
 * @param folder that holds libllama and its companions
 */
function loadLlamaLibrary(folder: string): LlamaLibrary {
  const metadata = JSON.parse(readFileSync(join(folder, '_nlcBuildMetadata.json'), 'utf8')) as {
    buildOptions: { llamaCpp: { release: string } };
  };
  const { release } = metadata.buildOptions.llamaCpp;
  koffi.struct('llama_model_params', MODEL_PARAMS);
  koffi.struct('llama_context_params', CONTEXT_PARAMS);
  koffi.struct('llama_batch', BATCH);
  koffi.struct('ggml_threadpool_params', {
    cpumask: koffi.array('bool', MAX_CORES),
    n_threads: 'int',
    prio: 'int',
    poll: 'uint32',
    strict_cpu: 'bool',
    paused: 'bool',
  });
  const base = koffi.load(join(folder, 'libggml-base.so'));
  const ggml = koffi.load(join(folder, `libggml.${release}.so`));
  const llama = koffi.load(join(folder, `libllama.${release}.so`));

  quieten(llama);
  ggml.func('void ggml_backend_load_all_from_path(const char *path)')(folder);
  const cpu = ggml.func('void *ggml_backend_reg_by_name(const char *name)')('CPU') as unknown;
  if (cpu === null) throw new Error(`no CPU code of llama.cpp in ${folder} runs here`);
  // Thread pools belong to the variant that was picked, so they are asked for by name.
  const address = base.func('void *ggml_backend_reg_get_proc_address(void *reg, const char *name)');
  const ofCpu = (name: string, prototype: string): ((...args: unknown[]) => unknown) => {
    const pointer = address(cpu, name) as Pointer;
    const type = koffi.proto(prototype);
    return (...args) => koffi.call(pointer, type, ...args) as unknown;
  };
  const f = (signature: string): never => llama.func(signature) as never;
  const vocabOf = f('void *llama_model_get_vocab(void *model)') as (model: Pointer) => Pointer;
  const vocabTokens = f('int32 llama_vocab_n_tokens(void *vocab)') as (vocab: Pointer) => number;
  return {
    release,
    modelDefaults: f('llama_model_params llama_model_default_params()'),
    contextDefaults: f('llama_context_params llama_context_default_params()'),
    loadModel: f('void *llama_model_load_from_file(const char *path, llama_model_params params)'),
    vocabSize: (model) => vocabTokens(vocabOf(model)),
    freeModel: f('void llama_model_free(void *model)'),
    createContext: f('void *llama_init_from_model(void *model, llama_context_params params)'),
    freeContext: f('void llama_free(void *context)'),
    createThreadPool: ofCpu(
      'ggml_threadpool_new',
      'void *ggml_threadpool_new_t(ggml_threadpool_params *params)',
    ) as never,
    freeThreadPool: ofCpu('ggml_threadpool_free', 'void ggml_threadpool_free_t(void *pool)'),
    attachThreadPool: f('void llama_attach_threadpool(void *context, void *decode, void *batch)'),
    createBatch: f('llama_batch llama_batch_init(int32 tokens, int32 embd, int32 sequences)'),
    freeBatch: f('void llama_batch_free(llama_batch batch)'),
    decode: f('int32 llama_decode(void *context, llama_batch batch)'),
    logits: f('void *llama_get_logits_ith(void *context, int32 index)'),
    memoryOf: f('void *llama_get_memory(void *context)'),
    removeTokens: f('bool llama_memory_seq_rm(void *memory, int32 seq, int32 from, int32 to)'),
  };
}

/** Without this llama.cpp writes what it does to stderr; only its errors are of use here. */
function quieten(llama: ReturnType<typeof koffi.load>): void {
  const ERROR = 4;
  const type = koffi.proto('void ggml_log_callback(int level, const char *text, void *user)');
  const callback = koffi.register((level: number, text: string) => {
    if (level === ERROR) process.stderr.write(`llama.cpp: ${text}`);
  }, koffi.pointer(type));
  llama.func('void llama_log_set(void *callback, void *user)')(callback, null);
}
