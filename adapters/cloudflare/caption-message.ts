import * as z from 'zod/mini';
import { isObjectKey } from '../../src/weights/object-store.ts';
import { sha256Hex } from '../../src/lib/sha256-hex.ts';

/** A picture to be captioned. */
export interface CaptionJob {
  /** Key of the picture in the bucket. */
  readonly image: string;
  readonly prompt: string;
  /** Gets the result by POST; null: it is only written. */
  readonly callback: string | null;
  /** Key of the result in the bucket: the same for the same picture and prompt. */
  readonly result: string;
}

export interface CaptionDefaults {
  readonly captionFolder: string;
  readonly captionPrompt: string;
}

/** What is sent to the queue by hand. */
const own = z.object({
  image: z.string().check(z.refine(isObjectKey, 'must be a key of the bucket')),
  prompt: z.optional(z.string().check(z.minLength(1), z.maxLength(10_000))),
  callback: z.optional(z.string().check(z.maxLength(8_192))),
});

/** What R2 sends by itself for each change of a bucket. */
const notification = z.object({ action: z.string(), object: z.object({ key: z.string() }) });

/** The other ones delete. */
const WRITES = new Set(['PutObject', 'CopyObject', 'CompleteMultipartUpload']);

/** Why a message asks for nothing. */
export interface NoCaption {
  /** null where that is how it should be, and no log has to tell. */
  readonly skipped: string | null;
}

/**
 * What a message of the queue asks for.
 * @returns undefined when it is no message of ours
 */
export async function parseCaptionMessage(
  body: unknown,
  { captionFolder, captionPrompt }: CaptionDefaults,
): Promise<CaptionJob | NoCaption | undefined> {
  const folder = `${captionFolder}/`;
  const event = notification.safeParse(body);
  if (event.success) {
    const { key } = event.data.object;
    // Results must not be captioned in their turn.
    if (!WRITES.has(event.data.action) || key.startsWith(folder)) return { skipped: null };
    // Trying again would not mend a name.
    if (key.endsWith('/')) return { skipped: `${quoted(key)} is the marker of a folder` };
    if (!isObjectKey(key)) {
      return { skipped: `${quoted(key)} has empty parts, dots or others that names may not have` };
    }
    return { image: key, prompt: captionPrompt, callback: null, result: `${folder}${key}.json` };
  }
  const message = own.safeParse(body);
  if (!message.success) return undefined;
  const { image, prompt = captionPrompt, callback = null } = message.data;
  const mark = prompt === captionPrompt ? '' : `.${(await promptMark(prompt)).slice(0, 16)}`;
  return { image, prompt, callback, result: `${folder}${image}${mark}.json` };
}

function quoted(key: string): string {
  return JSON.stringify(key.slice(0, 200));
}

function promptMark(prompt: string): Promise<string> {
  return sha256Hex(new TextEncoder().encode(prompt));
}
