import { ServeError } from '../../src/errors.ts';
import { loadKoffi } from './koffi.ts';
import { findLibrary, libraryMissing, ORT_VERSION } from './ort-library.ts';

/** A pointer to something of ONNX Runtime's. */
export type Pointer = bigint;
export type Out = [Pointer | null];

type FunctionName =
  | 'GetErrorMessage'
  | 'DisableTelemetryEvents'
  | 'CreateSessionFromArray'
  | 'CreateSessionOptions'
  | 'SetOptimizedModelFilePath'
  | 'EnableProfiling'
  | 'DisableMemPattern'
  | 'SetSessionLogSeverityLevel'
  | 'SetSessionGraphOptimizationLevel'
  | 'CreateTensorWithDataAsOrtValue'
  | 'CreateMemoryInfo'
  | 'AllocatorFree'
  | 'GetAllocatorWithDefaultOptions'
  | 'ReleaseEnv'
  | 'ReleaseStatus'
  | 'ReleaseMemoryInfo'
  | 'ReleaseSession'
  | 'ReleaseValue'
  | 'ReleaseSessionOptions'
  | 'SessionEndProfiling'
  | 'CreateEnvWithGlobalThreadPools'
  | 'DisablePerSessionThreads'
  | 'CreateThreadingOptions'
  | 'ReleaseThreadingOptions'
  | 'AddSessionConfigEntry'
  | 'RunWithBinding'
  | 'CreateIoBinding'
  | 'ReleaseIoBinding'
  | 'BindInput'
  | 'BindOutput'
  | 'CreateAndRegisterAllocator'
  | 'SetGlobalIntraOpNumThreads'
  | 'SetGlobalInterOpNumThreads'
  | 'SetGlobalSpinControl'
  | 'AddInitializer'
  | 'CreateArenaCfg'
  | 'ReleaseArenaCfg';

/**
 * ONNX Runtime's C API as a table of functions. The table only ever grows (its header promises
 * this), so positions are stable; they are those of onnxruntime_c_api.h, struct OrtApi. Each entry:
 * position, result, arguments. A `status` result is null for success.
 */
const TABLE: Readonly<Record<FunctionName, readonly [number, string, readonly string[]]>> = {
  GetErrorMessage: [2, 'str', ['ptr']],
  DisableTelemetryEvents: [6, 'ptr', ['ptr']],
  CreateSessionFromArray: [8, 'ptr', ['ptr', 'void *', 'size_t', 'ptr', 'out']],
  CreateSessionOptions: [10, 'ptr', ['out']],
  SetOptimizedModelFilePath: [11, 'ptr', ['ptr', 'str']],
  EnableProfiling: [14, 'ptr', ['ptr', 'str']],
  DisableMemPattern: [17, 'ptr', ['ptr']],
  SetSessionLogSeverityLevel: [22, 'ptr', ['ptr', 'int']],
  SetSessionGraphOptimizationLevel: [23, 'ptr', ['ptr', 'int']],
  CreateTensorWithDataAsOrtValue: [
    49,
    'ptr',
    ['ptr', 'void *', 'size_t', 'int64_t *', 'size_t', 'int', 'out'],
  ],
  CreateMemoryInfo: [68, 'ptr', ['str', 'int', 'int', 'int', 'out']],
  AllocatorFree: [76, 'ptr', ['ptr', 'ptr']],
  GetAllocatorWithDefaultOptions: [78, 'ptr', ['out']],
  ReleaseEnv: [92, 'void', ['ptr']],
  ReleaseStatus: [93, 'void', ['ptr']],
  ReleaseMemoryInfo: [94, 'void', ['ptr']],
  ReleaseSession: [95, 'void', ['ptr']],
  ReleaseValue: [96, 'void', ['ptr']],
  ReleaseSessionOptions: [100, 'void', ['ptr']],
  SessionEndProfiling: [110, 'ptr', ['ptr', 'ptr', 'out']],
  CreateEnvWithGlobalThreadPools: [119, 'ptr', ['int', 'str', 'ptr', 'out']],
  DisablePerSessionThreads: [120, 'ptr', ['ptr']],
  CreateThreadingOptions: [121, 'ptr', ['out']],
  ReleaseThreadingOptions: [122, 'void', ['ptr']],
  AddSessionConfigEntry: [130, 'ptr', ['ptr', 'str', 'str']],
  RunWithBinding: [133, 'ptr', ['ptr', 'ptr', 'ptr']],
  CreateIoBinding: [134, 'ptr', ['ptr', 'out']],
  ReleaseIoBinding: [135, 'void', ['ptr']],
  BindInput: [136, 'ptr', ['ptr', 'str', 'ptr']],
  BindOutput: [137, 'ptr', ['ptr', 'str', 'ptr']],
  CreateAndRegisterAllocator: [144, 'ptr', ['ptr', 'ptr', 'ptr']],
  SetGlobalIntraOpNumThreads: [147, 'ptr', ['ptr', 'int']],
  SetGlobalInterOpNumThreads: [148, 'ptr', ['ptr', 'int']],
  SetGlobalSpinControl: [149, 'ptr', ['ptr', 'int']],
  AddInitializer: [150, 'ptr', ['ptr', 'str', 'ptr']],
  CreateArenaCfg: [156, 'ptr', ['size_t', 'int', 'int', 'int', 'out']],
  ReleaseArenaCfg: [157, 'void', ['ptr']],
};

type Argument = Pointer | Uint8Array | BigInt64Array | string | number | Out | null;

interface NativeFunction {
  (...values: Argument[]): Pointer | string | null;
  async(...values: (Argument | ((error: unknown, result: Pointer | null) => void))[]): void;
}

export type OrtApi = Readonly<Record<FunctionName, NativeFunction>>;

/** The C API version this file was written against; newer libraries serve it unchanged. */
const API_VERSION = 15;

const TYPES: Readonly<Record<string, string>> = { ptr: 'void *', out: '_Out_ void **' };

interface OpenedLibrary {
  readonly api: OrtApi;
  readonly version: string;
  /** Held for good: koffi unloads a library whose handle is collected, whatever is still called. */
  readonly handle: unknown;
}

let opened: OpenedLibrary | undefined;

/**
 * Opens the library once; later calls get the one that is open.
 * @param path default: the one that is installed
 * @throws ServeError backend_unavailable
 */
export function openOrtApi(path: string | null = findLibrary()): {
  readonly api: OrtApi;
  readonly version: string;
} {
  if (opened !== undefined) return opened;
  if (path === null) throw libraryMissing('');
  const koffi = loadKoffi();
  try {
    const library = koffi.load(path);
    const base = library.func('OrtGetApiBase', 'void *', [])() as Pointer;
    const getApi = koffi.decode(
      koffi.decode(base, 0, 'void *'),
      koffi.proto('void *', ['uint32_t']),
    );
    const getVersion = koffi.decode(koffi.decode(base, 8, 'void *'), koffi.proto('str', []));
    const table = getApi(API_VERSION) as Pointer | null;
    if (table === null) throw new Error(`it does not offer C API version ${API_VERSION}`);
    const api: Record<string, NativeFunction> = {};
    for (const [name, [position, result, parameters]] of Object.entries(TABLE)) {
      const proto = koffi.proto(
        TYPES[result] ?? result,
        parameters.map((type) => TYPES[type] ?? type),
      );
      api[name] = koffi.decode(koffi.decode(table, position * 8, 'void *'), proto);
    }
    opened = { api: api as OrtApi, version: getVersion() as string, handle: library };
    return opened;
  } catch (cause) {
    throw new ServeError(
      'backend_unavailable',
      `ONNX Runtime's library at ${path} cannot be used: ${cause instanceof Error ? cause.message : String(cause)}. gemlet is tested with onnxruntime-node ${ORT_VERSION} on Linux x64 (glibc).`,
      { cause },
    );
  }
}
