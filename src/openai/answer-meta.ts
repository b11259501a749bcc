import type { ModelCard } from '../completer.ts';
import type { Clock } from '../lib/clock.ts';
import { sha256Hex } from '../lib/sha256-hex.ts';

/** What every object of one answer repeats. */
export interface AnswerMeta {
  readonly id: string;
  readonly createdSeconds: number;
  readonly model: string;
  /** See {@link systemFingerprint}. */
  readonly fingerprint: string | null;
}

/** @param prefix `chatcmpl` or `cmpl` */
export async function createAnswerMeta(
  prefix: string,
  card: ModelCard,
  version: string,
  clock: Clock,
): Promise<AnswerMeta> {
  const id = `${prefix}-${crypto.randomUUID().replaceAll('-', '')}`;
  const createdSeconds = Math.floor(clock.now() / 1000);
  const fingerprint = await systemFingerprint(card, version);
  return { id, createdSeconds, model: card.id, fingerprint };
}

/** What the objects of one answer begin with. */
export function answerHead(meta: AnswerMeta, object: string): object {
  return {
    id: meta.id,
    object,
    created: meta.createdSeconds,
    model: meta.model,
    ...(meta.fingerprint === null ? {} : { system_fingerprint: meta.fingerprint }),
  };
}

/**
 * Names what the same seed gives the same answer on: checkpoint, precision and version. How the output
 * head is kept, and the processor, are not in it. A gateway and its replicas have the same one.
 * @returns null where the checkpoint is not known
 */
async function systemFingerprint(card: ModelCard, version: string): Promise<string | null> {
  const { fingerprint, precision } = card;
  if (fingerprint === undefined) return null;
  const text = JSON.stringify([fingerprint, precision, version]);
  return `fp_${(await sha256Hex(new TextEncoder().encode(text))).slice(0, 16)}`;
}
