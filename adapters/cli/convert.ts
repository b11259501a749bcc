import { listObjects } from '../../src/bundle/verify.ts';
import {
  convertFlaxToBundle,
  convertFlaxToFolder,
  type FlaxConversionOptions,
} from '../node/convert-flax.ts';
import { formatBytes } from '../node/memory-fit.ts';
import { openModelStore } from '../node/open-source.ts';
import { createProgressLine } from './progress-line.ts';
import { readOptions, UsageError, type Environment } from './read-options.ts';

const USAGE = 'gemlet convert flax <orbax checkpoint> <destination>';

/** `gemlet convert flax <checkpoint> <destination>`: Google's int4 checkpoint as one that can be served. */
export async function convert(args: readonly string[], environment: Environment): Promise<string> {
  const read = readOptions(args, environment, {
    texts: ['format', 'tokenizer', 'config', 'threads'],
  });
  const [kind, location, destination, extra] = read.positionals;
  if (kind !== 'flax') throw new UsageError(`Say from what to convert: ${USAGE}.`);
  if (location === undefined || destination === undefined || extra !== undefined) {
    throw new UsageError(`Say which checkpoint and where to: ${USAGE}.`);
  }
  const format = read.choice('format', ['awq', 'bundle']) ?? 'awq';
  if (format === 'awq' && /^(s3|https?|hf):/.test(destination)) {
    throw new UsageError(
      'An AWQ checkpoint is written to a folder: its files are larger than memory. Copy it from there, or take --format bundle.',
    );
  }
  const stop = new AbortController();
  const onSignal = (): void => stop.abort(new UsageError('Stopped. Run it again to go on.'));
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  const line = createProgressLine('converted');
  const common: FlaxConversionOptions = {
    location,
    token: null,
    tokenizerFolder: read.text('tokenizer') ?? null,
    configFolder: read.text('config') ?? null,
    threads: read.number('threads', 1, 256),
    onProgress: (done, total) => line.show(done, total),
    signal: stop.signal,
  };
  try {
    const report =
      format === 'awq' ? await toFolder(common, destination) : await toBundle(common, destination);
    line.end();
    const withTokenizer = common.tokenizerFolder !== null;
    const hint = withTokenizer ? '' : '\nIt has no tokenizer yet: put tokenizer.json beside it.';
    return `${report}${format === 'awq' ? hint : ''}\nServe it: gemlet serve --model ${destination}`;
  } finally {
    line.end();
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
  }
}

async function toFolder(options: FlaxConversionOptions, folder: string): Promise<string> {
  const { plan, shardCount, keptCount } = await convertFlaxToFolder({ ...options, folder });
  const kept = keptCount === 0 ? '' : `, ${keptCount} of them from before`;
  return `${folder}: ${shardCount} shards${kept}, ${formatBytes(plan.tensorBytes)} of tensors from ${formatBytes(plan.sourceBytes)}.`;
}

async function toBundle(options: FlaxConversionOptions, location: string): Promise<string> {
  if (options.tokenizerFolder === null) {
    throw new UsageError(
      'A bundle holds its vocabulary: give a folder with tokenizer.json by --tokenizer.',
    );
  }
  const store = openModelStore(location);
  // The table is read more than once: bytes of the bundle tell better how far it is.
  const line = createProgressLine('packed');
  let sent = 0;
  try {
    const manifest = await convertFlaxToBundle({
      ...options,
      onProgress: () => undefined,
      store,
      onPart: ({ doneBytes, sentBytes, totalBytes }) => {
        sent = sentBytes;
        line.show(doneBytes, totalBytes);
      },
    });
    const objects = listObjects(manifest);
    const bytes = objects.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    return `${store.name}: ${objects.length} objects, ${formatBytes(bytes)}, of which ${formatBytes(sent)} sent now. Fingerprint ${manifest.fingerprint.slice(0, 16)}.`;
  } finally {
    line.end();
    await store.close();
  }
}
