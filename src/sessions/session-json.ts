import type { KvContent, KvImage } from '../engine/kv/kv-store.ts';
import { decodeBase64 } from '../image/data-uri.ts';
import type { Session, SessionMetadata } from './session.ts';

const VERSION = 1;
const WORD_BYTES = 4;
/** Bytes turned into characters at once; more overflow the stack. */
const CHUNK_BYTES = 0x4000;

/** A session as bytes of JSON; words are base64 of little-endian 32-bit integers. */
export function encodeSession(session: Session): Uint8Array {
  const { content, branches, ...rest } = session;
  const contents = [content, ...branches].map(({ scope, words, images, said }) => ({
    scope,
    words: encodeWords(words),
    images,
    said,
  }));
  return new TextEncoder().encode(JSON.stringify({ version: VERSION, ...rest, contents }));
}

/** @throws TypeError for what `encodeSession` did not write; its message quotes nothing */
export function parseSession(value: unknown): Session {
  const fields = objectOf(value, 'session');
  if (fields['version'] !== VERSION) throw damaged('version');
  const [content, ...branches] = listOf(fields['contents'], 'contents').map(parseContent);
  if (content === undefined) throw damaged('contents');
  const parent = fields['parent'];
  return {
    id: stringOf(fields['id'], 'id'),
    tenant: stringOf(fields['tenant'], 'tenant'),
    createdMs: numberOf(fields['createdMs'], 'createdMs'),
    usedMs: numberOf(fields['usedMs'], 'usedMs'),
    expiresMs: numberOf(fields['expiresMs'], 'expiresMs'),
    ttlMs: numberOf(fields['ttlMs'], 'ttlMs'),
    turns: numberOf(fields['turns'], 'turns'),
    savedTokens: numberOf(fields['savedTokens'], 'savedTokens'),
    parent: parent === null ? null : stringOf(parent, 'parent'),
    metadata: parseMetadata(fields['metadata']),
    content,
    branches,
  };
}

function parseContent(value: unknown): KvContent {
  const fields = objectOf(value, 'content');
  const words = decodeWords(stringOf(fields['words'], 'words'));
  let end = 0;
  const images = listOf(fields['images'], 'images').map((item): KvImage => {
    const image = objectOf(item, 'image');
    const position = numberOf(image['position'], 'position');
    const sha256 = stringOf(image['sha256'], 'sha256');
    if (!Number.isInteger(position) || position < end || position >= words.length) {
      throw damaged('position');
    }
    if (!/^[0-9a-f]{64}$/.test(sha256)) throw damaged('sha256');
    end = position + 1;
    return { position, sha256 };
  });
  // Absent in what earlier versions wrote.
  const keys = fields['said'] === undefined ? null : listOf(fields['said'], 'said');
  const said = keys === null ? {} : { said: keys.map((key) => stringOf(key, 'said')) };
  return { scope: stringOf(fields['scope'], 'scope'), words, images, ...said };
}

function parseMetadata(value: unknown): SessionMetadata {
  const pairs = Object.entries(objectOf(value, 'metadata'));
  return Object.fromEntries(pairs.map(([name, text]) => [name, stringOf(text, 'metadata')]));
}

function encodeWords(words: Int32Array): string {
  const bytes = new Uint8Array(words.length * WORD_BYTES);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < words.length; at++) view.setInt32(at * WORD_BYTES, words[at] ?? 0, true);
  let text = '';
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    text += String.fromCharCode(...bytes.subarray(at, at + CHUNK_BYTES));
  }
  return btoa(text);
}

function decodeWords(text: string): Int32Array {
  const bytes = decodeBase64(text);
  if (bytes.length % WORD_BYTES !== 0) throw damaged('words');
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const words = new Int32Array(bytes.length / WORD_BYTES);
  for (let at = 0; at < words.length; at++) words[at] = view.getInt32(at * WORD_BYTES, true);
  return words;
}

function objectOf(value: unknown, name: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw damaged(name);
  return value as Readonly<Record<string, unknown>>;
}

function listOf(value: unknown, name: string): readonly unknown[] {
  if (!Array.isArray(value)) throw damaged(name);
  return value;
}

function stringOf(value: unknown, name: string): string {
  if (typeof value !== 'string') throw damaged(name);
  return value;
}

function numberOf(value: unknown, name: string): number {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) throw damaged(name);
  return value;
}

function damaged(name: string): TypeError {
  return new TypeError(`the stored session has no valid ${name}`);
}
