import { runBounded } from '../lib/run-bounded.ts';
import { sha256Hex } from '../lib/sha256-hex.ts';
import type { ObjectSource } from '../weights/object-source.ts';
import { fingerprintOf, partKey, type BundleManifest } from './manifest.ts';

export interface VerifyProblem {
  readonly key: string;
  readonly problem: 'missing' | 'wrong size' | 'wrong bytes' | 'unreadable';
  readonly detail: string;
}

export interface VerifyReport {
  readonly checkedBytes: number;
  readonly problems: readonly VerifyProblem[];
}

const AT_ONCE = 4;

/** Reads every object that a manifest lists and compares size and SHA-256; changes nothing. */
export async function verifyBundle(
  source: ObjectSource,
  manifest: BundleManifest,
  onBytes: (bytes: number) => void = () => undefined,
  signal?: AbortSignal,
): Promise<VerifyReport> {
  const problems: VerifyProblem[] = [];
  let checkedBytes = 0;
  const objects = listObjects(manifest);

  async function check(
    object: { readonly key: string; readonly sizeBytes: number; readonly sha256: string },
    checkSignal: AbortSignal,
  ): Promise<void> {
    const { key, sizeBytes, sha256 } = object;
    const report = (problem: VerifyProblem['problem'], detail: string): void =>
      void problems.push({ key, problem, detail });
    try {
      const info = await source.head(key, checkSignal);
      if (info === null) return report('missing', 'not in the store');
      if (info.sizeBytes !== sizeBytes) {
        return report('wrong size', `${info.sizeBytes} bytes, not ${sizeBytes}`);
      }
      const bytes = new Uint8Array(sizeBytes);
      await source.read(key, 0, bytes, checkSignal);
      if ((await sha256Hex(bytes)) !== sha256) report('wrong bytes', 'its SHA-256 differs');
      checkedBytes += sizeBytes;
      onBytes(sizeBytes);
    } catch (error) {
      checkSignal.throwIfAborted();
      report('unreadable', error instanceof Error ? error.message : String(error));
    }
  }

  await runBounded(
    objects.length,
    AT_ONCE,
    async (index, checkSignal) => {
      const object = objects[index];
      if (object !== undefined) await check(object, checkSignal);
    },
    signal,
  );
  if ((await fingerprintOf(manifest, sha256Hex)) !== manifest.fingerprint) {
    const detail = 'its fingerprint is not that of its content';
    problems.push({ key: 'bundle.json', problem: 'wrong bytes', detail });
  }
  return { checkedBytes, problems };
}

/** Each object once, whatever lists it. */
export function listObjects(
  manifest: BundleManifest,
): readonly { readonly key: string; readonly sizeBytes: number; readonly sha256: string }[] {
  const { files, decoder, vision, table } = manifest;
  const parts = [...decoder.parts, ...table.parts, ...(vision?.parts ?? [])];
  const all = [
    ...files,
    table.blockHashes,
    ...parts.map((part) => ({ key: partKey(part), ...part })),
  ];
  return [...new Map(all.map((object) => [object.key, object])).values()];
}
