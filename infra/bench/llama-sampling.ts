import { join } from 'node:path';
import koffi from 'koffi';
import { openLlamaLibrary } from './llama-library.ts';
import type { Pointer } from './llama-library.ts';

export interface LlamaFilters {
  /** 0 is off. */
  readonly topK: number;
  /** 1 is off. */
  readonly topP: number;
  /** 0 is off. */
  readonly minP: number;
}

/** llama.cpp's samplers over given logits. */
export interface LlamaSampling {
  /** Sets up a chain and lets `measure` draw with it; each draw starts from all candidates. */
  run<T>(filters: LlamaFilters, logits: Float32Array, measure: (draw: () => number) => T): T;
}

/** Bytes of llama_token_data: id, logit, p. */
const CANDIDATE_BYTES = 12;
const SEED = 7;

/** @param folder as of {@link openLlamaLibrary} */
export function openLlamaSampling(folder: string, vocabSize: number): LlamaSampling {
  const { release } = openLlamaLibrary(folder);
  const llama = koffi.load(join(folder, `libllama.${release}.so`));
  koffi.struct('llama_token_data_array', {
    data: 'void *',
    size: 'size_t',
    selected: 'int64',
    sorted: 'bool',
  });
  const f = (signature: string): never => llama.func(signature) as never;
  koffi.struct('llama_sampler_chain_params', { no_perf: 'bool' });
  const createChain = f('void *llama_sampler_chain_init(llama_sampler_chain_params params)') as (
    params: object,
  ) => Pointer;
  const addTo = f('void llama_sampler_chain_add(void *chain, void *sampler)') as (
    chain: Pointer,
    sampler: Pointer,
  ) => void;
  const topK = f('void *llama_sampler_init_top_k(int32 k)') as (k: number) => Pointer;
  const topP = f('void *llama_sampler_init_top_p(float p, size_t min_keep)') as KeepSampler;
  const minP = f('void *llama_sampler_init_min_p(float p, size_t min_keep)') as KeepSampler;
  const dist = f('void *llama_sampler_init_dist(uint32 seed)') as (seed: number) => Pointer;
  const apply = f(
    'void llama_sampler_apply(void *chain, _Inout_ llama_token_data_array *candidates)',
  ) as (chain: Pointer, candidates: object) => void;
  const free = f('void llama_sampler_free(void *chain)') as (chain: Pointer) => void;

  return {
    run(filters, logits, measure) {
      const all = new ArrayBuffer(vocabSize * CANDIDATE_BYTES);
      const ids = new Int32Array(all);
      const values = new Float32Array(all);
      for (let id = 0; id < vocabSize; id++) {
        ids[id * 3] = id;
        values[id * 3 + 1] = logits[id] ?? 0;
      }
      const template = new Uint8Array(all);
      const data = new Uint8Array(template.length);
      const chain = createChain({ no_perf: true });
      try {
        if (filters.topK > 0) addTo(chain, topK(filters.topK));
        if (filters.topP < 1) addTo(chain, topP(filters.topP, 1));
        if (filters.minP > 0) addTo(chain, minP(filters.minP, 1));
        addTo(chain, dist(SEED));
        return measure(() => {
          // Samplers sort and cut the candidates in place.
          data.set(template);
          const candidates = { data, size: vocabSize, selected: -1, sorted: false };
          apply(chain, candidates);
          if (candidates.selected < 0) throw new Error('llama.cpp has chosen no token');
          return candidates.selected;
        });
      } finally {
        free(chain);
      }
    },
  };
}

type KeepSampler = (p: number, minKeep: number) => Pointer;
