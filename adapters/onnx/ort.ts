import { ServeError } from '../../src/errors.ts';
import { setNativeEnvironment, type NativeMemory } from './native-memory.ts';
import { openOrtApi, type OrtApi, type Out, type Pointer } from './ort-api.ts';

/** Element types, numbered as ONNX does. */
export const ELEMENT_TYPES = { float: 1, uint8: 2, int32: 6, int64: 7, bool: 9 } as const;
export type ElementType = keyof typeof ELEMENT_TYPES;
export const ELEMENT_BYTES: Readonly<Record<ElementType, number>> = {
  float: 4,
  uint8: 1,
  int32: 4,
  int64: 8,
  bool: 1,
};

/** A tensor over memory somebody else owns and must keep until the tensor is released. */
export interface OrtTensor {
  readonly pointer: Pointer;
  release(): void;
}

export interface OrtSession {
  /** Binds tensors by name once; the binding may be run many times. */
  bind(inputs: ReadonlyMap<string, OrtTensor>, outputs: ReadonlyMap<string, OrtTensor>): OrtBinding;
  /** Waits for nothing: the caller must not close while a run is in flight. */
  close(): void;
}

export interface OrtBinding {
  /** Runs on the shared thread pool; the event loop goes on meanwhile. */
  run(): Promise<void>;
  release(): void;
}

export interface SessionOptions {
  /** Memory bound in place of the weights the model declares. */
  readonly initializers: ReadonlyMap<string, OrtTensor>;
  readonly config?: readonly (readonly [key: string, value: string])[];
}

/** One per process and shared: thread pool, allocator and environment live as long as a user does. */
export interface OrtRuntime {
  readonly version: string;
  readonly threads: number;
  tensor(
    memory: NativeMemory,
    offset: number,
    type: ElementType,
    dims: readonly number[],
  ): OrtTensor;
  /** @param model a serialized ONNX ModelProto */
  createSession(model: Uint8Array, options: SessionOptions): Promise<OrtSession>;
  release(): void;
}

const LOG_ERRORS_ONLY = 3;
const ARENA_ALLOCATOR = 1;
const DEVICE_ALLOCATOR = 0;
const DEFAULT_MEMORY = 0;
const EXTEND_AS_REQUESTED = 1;

let shared: { readonly runtime: OrtRuntime; users: number; readonly close: () => void } | undefined;

/**
 * Takes the process's runtime, creating it for the first user. ONNX Runtime has one environment per
 * process, so later users share the first one's thread count and library.
 * @param library path; default: the one that is installed
 * @throws ServeError backend_unavailable
 */
export function acquireRuntime(threads: number, library?: string): OrtRuntime {
  if (shared === undefined) {
    const created = createRuntime(threads, library);
    shared = { runtime: created.runtime, users: 0, close: created.close };
  }
  const taken = shared;
  taken.users += 1;
  let isReleased = false;
  return {
    ...taken.runtime,
    release() {
      if (isReleased) return;
      isReleased = true;
      taken.users -= 1;
      if (taken.users > 0) return;
      shared = undefined;
      taken.close();
    },
  };
}

function createRuntime(
  threads: number,
  library: string | undefined,
): { runtime: OrtRuntime; close: () => void } {
  const { api, version } = openOrtApi(library);
  // It would report every session to its makers. What begins with the environment is stopped only so.
  setNativeEnvironment('ORT_DISABLE_TELEMETRY', '1');
  const environment = createEnvironment(api, threads);
  const memoryInfo = createMemoryInfo(api, DEVICE_ALLOCATOR);
  const runtime: OrtRuntime = {
    version,
    threads,
    tensor: (memory, offset, type, dims) =>
      createTensor(api, memoryInfo, memory, offset, type, dims),
    createSession: (model, options) => createSession(api, environment, model, options),
    release() {},
  };
  return {
    runtime,
    close() {
      api.ReleaseMemoryInfo(memoryInfo);
      api.ReleaseEnv(environment);
    },
  };
}

function createEnvironment(api: OrtApi, threads: number): Pointer {
  const threading = create(api, (out) => api.CreateThreadingOptions(out));
  try {
    check(api, api.SetGlobalIntraOpNumThreads(threading, threads));
    check(api, api.SetGlobalInterOpNumThreads(threading, 1));
    check(api, api.SetGlobalSpinControl(threading, 1));
    const environment = create(api, (out) =>
      api.CreateEnvWithGlobalThreadPools(LOG_ERRORS_ONLY, 'gemlet', threading, out),
    );
    check(api, api.DisableTelemetryEvents(environment));
    // One arena for all sessions: with their own, every layer group would hold a full set of buffers.
    const arena = create(api, (out) => api.CreateArenaCfg(0, EXTEND_AS_REQUESTED, -1, -1, out));
    const info = createMemoryInfo(api, ARENA_ALLOCATOR);
    check(api, api.CreateAndRegisterAllocator(environment, info, arena));
    api.ReleaseMemoryInfo(info);
    api.ReleaseArenaCfg(arena);
    return environment;
  } finally {
    api.ReleaseThreadingOptions(threading);
  }
}

function createMemoryInfo(api: OrtApi, allocator: number): Pointer {
  return create(api, (out) => api.CreateMemoryInfo('Cpu', allocator, 0, DEFAULT_MEMORY, out));
}

function createTensor(
  api: OrtApi,
  memoryInfo: Pointer,
  memory: NativeMemory,
  offset: number,
  type: ElementType,
  dims: readonly number[],
): OrtTensor {
  const bytes = dims.reduce((product, dim) => product * dim, ELEMENT_BYTES[type]);
  if (offset + bytes > memory.sizeBytes) {
    throw new RangeError(`tensor [${dims.join(', ')}] at ${offset} leaves its memory`);
  }
  const shape = BigInt64Array.from(dims, BigInt);
  const pointer = create(api, (out) =>
    api.CreateTensorWithDataAsOrtValue(
      memoryInfo,
      memory.address + BigInt(offset),
      bytes,
      shape,
      dims.length,
      ELEMENT_TYPES[type],
      out,
    ),
  );
  return releasable(pointer, () => api.ReleaseValue(pointer));
}

async function createSession(
  api: OrtApi,
  environment: Pointer,
  model: Uint8Array,
  options: SessionOptions,
): Promise<OrtSession> {
  const sessionOptions = create(api, (out) => api.CreateSessionOptions(out));
  try {
    check(api, api.DisablePerSessionThreads(sessionOptions));
    check(api, api.DisableMemPattern(sessionOptions));
    check(api, api.SetSessionLogSeverityLevel(sessionOptions, LOG_ERRORS_ONLY));
    // The graphs are authored with the fused operators; rewriting could only read absent weights.
    check(api, api.SetSessionGraphOptimizationLevel(sessionOptions, 0));
    check(api, api.AddSessionConfigEntry(sessionOptions, 'session.use_env_allocators', '1'));
    for (const [key, value] of options.config ?? []) {
      check(api, api.AddSessionConfigEntry(sessionOptions, key, value));
    }
    for (const [name, tensor] of options.initializers) {
      check(api, api.AddInitializer(sessionOptions, name, tensor.pointer));
    }
    const out: Out = [null];
    const status = await new Promise<Pointer | null>((resolve, reject) => {
      api.CreateSessionFromArray.async(
        environment,
        model,
        model.length,
        sessionOptions,
        out,
        (error: unknown, result: Pointer | null) => {
          if (error === null || error === undefined) resolve(result);
          else reject(asError(error));
        },
      );
    });
    check(api, status);
    const pointer = out[0] as Pointer;
    let isClosed = false;
    return {
      bind: (inputs, outputs) => createBinding(api, pointer, inputs, outputs),
      close() {
        if (isClosed) return;
        isClosed = true;
        api.ReleaseSession(pointer);
      },
    };
  } finally {
    api.ReleaseSessionOptions(sessionOptions);
  }
}

function createBinding(
  api: OrtApi,
  session: Pointer,
  inputs: ReadonlyMap<string, OrtTensor>,
  outputs: ReadonlyMap<string, OrtTensor>,
): OrtBinding {
  const pointer = create(api, (out) => api.CreateIoBinding(session, out));
  try {
    for (const [name, tensor] of inputs) check(api, api.BindInput(pointer, name, tensor.pointer));
    for (const [name, tensor] of outputs) check(api, api.BindOutput(pointer, name, tensor.pointer));
  } catch (error) {
    api.ReleaseIoBinding(pointer);
    throw error;
  }
  const owned = releasable(pointer, () => api.ReleaseIoBinding(pointer));
  return {
    release: () => owned.release(),
    run: () =>
      new Promise((resolve, reject) => {
        api.RunWithBinding.async(
          session,
          null,
          pointer,
          (error: unknown, status: Pointer | null) => {
            try {
              if (error !== null && error !== undefined) throw error;
              check(api, status);
              resolve();
            } catch (failure) {
              reject(asError(failure));
            }
          },
        );
      }),
  };
}

function releasable(pointer: Pointer, free: () => void): OrtTensor {
  let isReleased = false;
  return {
    pointer,
    release() {
      if (isReleased) return;
      isReleased = true;
      free();
    },
  };
}

function create(api: OrtApi, call: (out: Out) => Pointer | string | null): Pointer {
  const out: Out = [null];
  check(api, call(out));
  return out[0] as Pointer;
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error('a native call failed', { cause: thrown });
}

function check(api: OrtApi, status: Pointer | string | null): void {
  if (status === null) return;
  const message = String(api.GetErrorMessage(status));
  api.ReleaseStatus(status);
  // Its words name files and lines of its own: they are for the log, not for clients.
  throw new ServeError('internal', 'The inference runtime failed; the log has its words.', {
    cause: new Error(`ONNX Runtime: ${message}`),
  });
}
