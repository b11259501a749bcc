import type { ModelConfig } from '../model/config.ts';

/**
 * A Hugging Face checkpoint opened for reading. Tensor names are canonical whatever dialect the
 * files use: `embed_tokens`, `norm`, `lm_head`, `layers.N.input_layernorm`,
 * `layers.N.self_attn.q_proj`, `layers.N.mlp.gate_proj`, `vision.patch_embedding.weight`,
 * `vision.position_embedding`, `vision.layers.M.layer_norm1.weight`,
 * `vision.layers.M.self_attn.q_proj.weight`, `vision.layers.M.mlp.fc1.bias`,
 * `vision.post_layernorm.weight`, `projector.weight`, `projector.norm`.
 */
export interface Checkpoint {
  /** For messages: the source's name. */
  readonly name: string;
  readonly config: ModelConfig;
  /** Bytes of all tensors in the files. */
  readonly sizeBytes: number;
  /** What the model uses; an int4 linear is listed as `name.qweight`, `name.qzeros`, `name.scales`. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Any stored float tensor, widened to fp32, in stored order. */
  readFloats(name: string, signal?: AbortSignal): Promise<Float32Array>;
  /** Rows [from, to) of a stored two-dimensional float tensor, widened into `out`. */
  readRows(
    name: string,
    from: number,
    to: number,
    out: Float32Array,
    signal?: AbortSignal,
  ): Promise<void>;
  /** Describes a linear layer of the text model; reads its zero points to tell whether they matter. */
  linear(name: string, signal?: AbortSignal): Promise<LinearInfo>;
  /** Unpacks an int4 linear into the layout of {@link Int4Target}. */
  readInt4(name: string, target: Int4Target, signal?: AbortSignal): Promise<void>;
  /**
   * Token embeddings, unscaled, widened to fp32: row i of `out` is the embedding of `ids[i]`.
   * Returns without a promise where the bytes are local.
   */
  gatherEmbeddings(ids: Int32Array, out: Float32Array, signal?: AbortSignal): Promise<void> | void;
  /** Present where bytes come from afar in an order of their own: fetches what the loader wants first. */
  begin?(): void;
  /** Present where the table must be fetched: brings all of it into memory. */
  loadEmbeddings?(signal?: AbortSignal): Promise<void>;
  /** The output head where it is stored rounded; else it is rounded from `lm_head` or `embed_tokens`. */
  readonly storedHead?: StoredHead;
  close(): Promise<void>;
}

/** Rows are those of the vocabulary, columns those of the hidden state. */
export interface StoredHead {
  readonly format: 'int8' | 'int4';
  /** Inputs that share one scale. */
  readonly blockSize: number;
  /**
   * @param packed [rows, columns * bits / 8], as MatMulNBits takes it
   * @param scales [rows, columns / blockSize]
   */
  read(packed: Uint8Array, scales: Float32Array, signal?: AbortSignal): Promise<void>;
}

export type TensorDtype = 'BF16' | 'F16' | 'F32' | 'I32';

export interface TensorInfo {
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
  readonly sizeBytes: number;
}

export type LinearInfo =
  | { readonly type: 'float'; readonly outFeatures: number; readonly inFeatures: number }
  | {
      readonly type: 'int4';
      readonly outFeatures: number;
      readonly inFeatures: number;
      /** Inputs that share one scale: 32, 64 or 128. */
      readonly groupSize: number;
      /** Every zero point is 8, so that they need not be stored. */
      readonly symmetric: boolean;
    };

/**
 * Layout of ONNX Runtime's MatMulNBits, N = outFeatures, G = inFeatures / groupSize.
 * Value (n, k) is (nibble - zero point) * scale.
 */
export interface Int4Target {
  /** [N, G, groupSize / 2]; the low nibble holds the even input */
  readonly packed: Uint8Array;
  /** [N, G] */
  readonly scales: Float32Array;
  /** [N, ceil(G / 2)]; the low nibble holds the even group. null: not wanted (symmetric). */
  readonly zeroPoints: Uint8Array | null;
}
