/**
 * gemlet's runtime-agnostic core: the HTTP API, the engine and the ports that adapters implement.
 * On Node.js, `import 'gemlet'` adds `createEngine` and friends: see adapters/node/index.ts.
 * @module
 */

export { createApp, type AppEvent, type AppOptions } from './app.ts';
export type {
  Completer,
  CompletionEvent,
  CompletionRequest,
  ModelCard,
  PromptInput,
  SamplingDefaults,
} from './completer.ts';
export { createEngineCompleter, tokenBytesOf } from './engine-completer.ts';
export type { Backend, ForwardStep, PrefillChunk, StepLogits } from './engine/backend.ts';
export type { Engine, GenerateEvent, PreparedPrompt, SamplingParams } from './engine/engine.ts';
export { createLocalEngine } from './engine/local-engine.ts';
export { ServeError, type ErrorCode } from './errors.ts';
export type { Affinity, ReplicaStatus } from './fleet/affinity.ts';
export { createCookieAffinity } from './fleet/cookie.ts';
export { describeFromFiles } from './fleet/describe-model.ts';
export { createHashedHeader } from './fleet/hashed-header.ts';
export { createLifecycle } from './fleet/lifecycle.ts';
export { createMemorySessionTable } from './fleet/memory-sessions.ts';
export { createPool, type Pool } from './fleet/pool.ts';
export { createRemoteCompleter, type RemoteCompleterOptions } from './fleet/remote-completer.ts';
export type { FleetEvent } from './fleet/remote-engine.ts';
export type { SessionTable } from './fleet/session-table.ts';
export { createTokenEcho } from './fleet/token-echo.ts';
export {
  createLazyCompleter,
  type LazyCompleter,
  type LazyCompleterOptions,
  type LoadEvent,
} from './lazy-completer.ts';
export { systemClock } from './lib/clock.ts';
export type { FailureEvent } from './log/failure-record.ts';
export { createRequestLog, type RequestLog, type RequestLogOptions } from './log/request-log.ts';
export { createStreamWriter } from './log/stream-writer.ts';
export type { LoadProgress } from './load-progress.ts';
export type { ImageDecoder, RgbImage } from './image/decode.ts';
export { createImageLoader } from './image/load-image.ts';
export { type PreparePicture, prepareWith } from './image/prepare-picture.ts';
export type { ModelConfig } from './model/config.ts';
export { parseModelConfig } from './model/parse-config.ts';
export { createTokenizer } from './prompt/bpe-tokenizer.ts';
export { buildVocabulary } from './prompt/build-vocabulary.ts';
export type { ChatMessage, MessagePart } from './prompt/messages.ts';
export { createPreparer } from './prompt/prepare.ts';
export type { Tokenizer } from './prompt/tokenizer.ts';
export { loadVocabulary } from './prompt/vocabulary.ts';
export { createSessionRegistry, type SessionRegistry } from './sessions/registry.ts';
export type { SessionControl, SessionMemory } from './sessions/session.ts';
export type { Checkpoint } from './weights/checkpoint.ts';
export type { ObjectSource } from './weights/object-source.ts';
export { openCheckpoint } from './weights/open-checkpoint.ts';
