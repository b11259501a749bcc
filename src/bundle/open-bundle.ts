import { ServeError } from '../errors.ts';
import { sha256Hex, type Sha256 } from '../lib/sha256-hex.ts';
import { parseGenerationConfig } from '../model/generation-config.ts';
import { parseModelConfig } from '../model/parse-config.ts';
import type { StoredHead } from '../weights/checkpoint.ts';
import type { ObjectSource } from '../weights/object-source.ts';
import type { OpenedCheckpoint } from '../weights/open-checkpoint.ts';
import { readJson } from '../weights/read-json.ts';
import { checkShapes } from './check-shapes.ts';
import { fingerprintOf, MANIFEST_KEY } from './manifest.ts';
import type { BundleManifest, BundleStream, BundleTensor } from './manifest.ts';
import { createPartStream, type PartStream, type PartStreamOptions } from './part-stream.ts';
import { listTensors } from './list-tensors.ts';
import { createTableReader, type TableReader } from './table-reader.ts';
import { splitBlock } from './table-rows.ts';
import { createTensorReader, tensorBytes } from './tensor-reader.ts';
import { createVerifiedFiles } from './verified-files.ts';
import { GRID_GROUP } from './grid.ts';

export interface BundleOptions {
  /** Bytes of the decoder that arrived, of how many. */
  readonly onProgress?: ((loadedBytes: number, totalBytes: number) => void) | undefined;
  /** SHA-256 as lower-case hex; default the Web's, which copies what it is given. */
  readonly sha256?: Sha256 | undefined;
  /** Ends the opening; what is fetched later ends with the checkpoint. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens a bundle as a checkpoint whose tensors arrive in the order of loading. Takes over `source`.
 * @throws ServeError invalid_checkpoint, weights_unavailable, unsupported_model
 */
export async function openBundle(
  source: ObjectSource,
  manifest: BundleManifest,
  options: BundleOptions = {},
): Promise<OpenedCheckpoint> {
  const { onProgress, signal, sha256 = sha256Hex } = options;
  if ((await fingerprintOf(manifest, sha256)) !== manifest.fingerprint) {
    throw new ServeError(
      'invalid_checkpoint',
      `${source.name}: ${MANIFEST_KEY} was changed after it was packed: its fingerprint is not that of its content. Run gemlet pack again, or copy the bundle anew.`,
    );
  }
  const files = createVerifiedFiles(source, manifest.files, sha256);
  const generationConfig = await readJson(files, 'generation_config.json', signal);
  const config = parseModelConfig(await readJson(files, 'config.json', signal), {
    generationConfig,
    embeddingDtype: manifest.embeddingDtype,
  });
  checkShapes(config, manifest, source.name);
  const closing = new AbortController();
  let loaded = 0;
  const decoder = streamOf(
    { source, sha256, signal: closing.signal },
    manifest.decoder,
    (bytes) => {
      loaded += bytes;
      onProgress?.(loaded, manifest.decoder.sizeBytes);
    },
  );
  const vision =
    manifest.vision === null
      ? null
      : streamOf({ source, sha256, signal: closing.signal }, manifest.vision);
  const table = createTableReader({ source, table: manifest.table, sha256 });
  const reader = createTensorReader(
    [
      { stream: decoder, tensors: manifest.decoder.tensors },
      ...(vision === null || manifest.vision === null
        ? []
        : [{ stream: vision, tensors: manifest.vision.tensors }]),
    ],
    source.name,
  );
  const stored = storedHead(manifest, config.text.vocabSize, decoder, table);
  return {
    name: source.name,
    source: files,
    fingerprint: manifest.fingerprint,
    config,
    defaults: parseGenerationConfig(generationConfig),
    files: manifest.files.map(({ key }) => key),
    ignored: [],
    sizeBytes: manifest.checkpointBytes,
    tensors: listTensors(manifest),
    ...(stored === null ? {} : { storedHead: stored }),
    readFloats: (name, readSignal) => reader.readFloats(name, readSignal),
    linear: async (name) => reader.linear(name),
    readInt4: (name, target, readSignal) => reader.readInt4(name, target, readSignal),
    async readRows(name, from, to, out, readSignal) {
      if (name !== 'embed_tokens') return reader.readRows(name, from, to, out, readSignal);
      // Whoever reads rows in order reads all: their parts serve gathering too.
      await table.loadAll(readSignal);
      await table.gather(
        Int32Array.from({ length: to - from }, (_, at) => from + at),
        out,
      );
    },
    begin: () => decoder.begin(),
    gatherEmbeddings: (ids, out, gatherSignal) => table.gather(ids, out, gatherSignal),
    loadEmbeddings: (loadSignal) =>
      table.loadAll(
        loadSignal === undefined ? closing.signal : AbortSignal.any([loadSignal, closing.signal]),
      ),
    async close() {
      closing.abort(new ServeError('internal', `${source.name} is closed`));
      await source.close();
    },
  };
}

function streamOf(
  common: Pick<PartStreamOptions, 'source' | 'sha256' | 'signal'>,
  stream: BundleStream,
  onBytes?: (bytes: number) => void,
): PartStream {
  const ranges = stream.tensors.map((tensor) => ({
    offset: tensor.offset,
    sizeBytes: tensorBytes(tensor),
  }));
  return createPartStream({ ...common, stream, ranges, onBytes });
}

/** The head in the bundle, or the table itself where it lies on the int4 grid. */
function storedHead(
  { decoder, table }: BundleManifest,
  vocabSize: number,
  stream: PartStream,
  reader: TableReader,
): StoredHead | null {
  const head = decoder.tensors.find(
    (tensor): tensor is Extract<BundleTensor, { type: 'head' }> => tensor.type === 'head',
  );
  if (head !== undefined) {
    const { format, blockSize, offset, rows, columns } = head;
    const packedBytes = (rows * columns * (format === 'int8' ? 8 : 4)) / 8;
    return {
      format,
      blockSize,
      async read(packed, scales, signal) {
        const floats = new Uint8Array(scales.buffer, scales.byteOffset, scales.byteLength);
        await stream.read(offset, packedBytes, (bytes, at) => packed.set(bytes, at), signal);
        const scaleBytes = floats.length;
        await stream.read(
          offset + packedBytes,
          scaleBytes,
          (bytes, at) => floats.set(bytes, at),
          signal,
        );
      },
    };
  }
  if (table.format !== 'int4') return null;
  const { columns } = table;
  return {
    format: 'int4',
    blockSize: GRID_GROUP,
    read: (packed, scales, signal) =>
      reader.eachBlock((block, firstRow, rows) => {
        const kept = Math.min(rows, vocabSize - firstRow);
        if (kept <= 0) return;
        const parts = splitBlock(block, rows, columns);
        packed.set(parts.packed.subarray(0, (kept * columns) / 2), (firstRow * columns) / 2);
        const groups = columns / GRID_GROUP;
        scales.set(parts.scales.subarray(0, kept * groups), firstRow * groups);
      }, signal),
  };
}
