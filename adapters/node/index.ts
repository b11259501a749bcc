/**
 * What `import 'gemlet'` gives on Node.js: the core, and a model in this process.
 * @module
 */

export * from '../../src/index.ts';
export { createEngine, type EngineOptions, type LocalCompleter } from './create-engine.ts';
export { createGateway, type GatewayOptions } from './create-gateway.ts';
export { openUpstream, type UpstreamOptions } from './open-upstream.ts';
export { createLazyEngine, type LazyEngine, type LazyEngineOptions } from './create-lazy-engine.ts';
export { describeModel, type DescribedModel } from './describe-model.ts';
export { createPipeline, type Pipeline, type PipelineOptions } from './pipeline.ts';
export { startServer, type RunningServer, type ServerOptions } from './server.ts';
