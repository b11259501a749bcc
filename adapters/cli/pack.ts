import { parseArgs } from 'node:util';
import { readManifest } from '../../src/bundle/manifest.ts';
import { packCheckpoint } from '../../src/bundle/pack.ts';
import { listObjects, verifyBundle } from '../../src/bundle/verify.ts';
import { ServeError } from '../../src/errors.ts';
import { buildVocabulary } from '../../src/prompt/build-vocabulary.ts';
import { openCheckpoint } from '../../src/weights/open-checkpoint.ts';
import { formatBytes } from '../node/memory-fit.ts';
import { openModelSource, openModelStore } from '../node/open-source.ts';
import { UsageError } from './read-options.ts';
import { createProgressLine } from './progress-line.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const HEADS = ['int8', 'int4', 'table'] as const;

/** `gemlet pack <model> <destination>`: publishes a model as a bundle. */
export async function pack(args: readonly string[], environment: Environment): Promise<string> {
  const { values, positionals } = readArgs(args, {
    head: { type: 'string' },
    'hf-token': { type: 'string' },
  });
  const [model, destination, extra] = positionals;
  if (model === undefined || destination === undefined || extra !== undefined) {
    throw new UsageError('Say which model and where to: gemlet pack <model> <folder or s3://...>.');
  }
  const head = HEADS.find((format) => format === values.head);
  if (values.head !== undefined && head === undefined) {
    throw new UsageError(`--head must be ${HEADS.join(', ')}, not "${values.head}".`);
  }
  const stop = new AbortController();
  const onSignal = (): void => stop.abort(new UsageError('Stopped. Run it again to go on.'));
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  const store = openModelStore(destination);
  const line = createProgressLine('packed');
  try {
    const { source } = openModelSource(model, values['hf-token'] ?? environment['HF_TOKEN']);
    const checkpoint = await openCheckpoint(source, stop.signal);
    try {
      let sent = 0;
      const manifest = await packCheckpoint({
        checkpoint,
        source,
        store,
        buildVocabulary,
        ...(head === undefined ? {} : { head }),
        onProgress: ({ doneBytes, sentBytes, totalBytes }) => {
          sent = sentBytes;
          line.show(doneBytes, totalBytes);
        },
        signal: stop.signal,
      });
      line.end();
      const objects = listObjects(manifest);
      const bytes = objects.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      return `${store.name}: ${objects.length} objects, ${formatBytes(bytes)}, of which ${formatBytes(sent)} sent now. Fingerprint ${manifest.fingerprint.slice(0, 16)}.\nServe it: gemlet serve --model ${destination}`;
    } finally {
      await checkpoint.close();
    }
  } finally {
    line.end();
    await store.close();
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
  }
}

/**
 * `gemlet verify <bundle>`: reads all of a bundle.
 * @throws ServeError invalid_checkpoint naming what is wrong
 */
export async function verify(args: readonly string[], environment: Environment): Promise<string> {
  const { values, positionals } = readArgs(args, { 'hf-token': { type: 'string' } });
  const [location, extra] = positionals;
  if (location === undefined || extra !== undefined) {
    throw new UsageError('Say which bundle: gemlet verify <folder, s3://... or https URL>.');
  }
  const { source } = openModelSource(location, values['hf-token'] ?? environment['HF_TOKEN']);
  const line = createProgressLine('verified');
  try {
    const manifest = await readManifest(source);
    if (manifest === null) {
      throw new ServeError(
        'invalid_checkpoint',
        `${source.name} holds no bundle: there is no bundle.json. Make one with gemlet pack.`,
      );
    }
    const total = listObjects(manifest).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    let done = 0;
    const { problems } = await verifyBundle(source, manifest, (bytes) => {
      done += bytes;
      line.show(done, total);
    });
    line.end();
    if (problems.length === 0) {
      return `${source.name}: all ${formatBytes(total)} are what the manifest says.`;
    }
    const lines = problems.map(({ key, problem, detail }) => `  ${key}: ${problem}, ${detail}`);
    throw new ServeError(
      'invalid_checkpoint',
      `${source.name} is damaged:\n${lines.join('\n')}\nPack it again: only what is missing is sent; remove objects of wrong bytes first.`,
    );
  } finally {
    line.end();
    await source.close();
  }
}

interface Args {
  readonly values: { readonly head?: string; readonly 'hf-token'?: string };
  readonly positionals: readonly string[];
}

function readArgs(args: readonly string[], options: Record<string, { type: 'string' }>): Args {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}
