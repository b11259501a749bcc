import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createEngine } from '../../adapters/node/create-engine.ts';
import type { EngineOptions } from '../../adapters/node/engine-settings.ts';
import { createApp } from '../../src/app.ts';

interface ChatBody {
  readonly choices: [{ message: { content: string } }];
  readonly usage: { prompt_tokens_details: { cached_tokens: number } };
}

const QUESTION = `Tell me ${'more and more '.repeat(60)}about it.`;
const HEADER_BYTES = 256;
const NAN_BYTES = Buffer.from([0, 0, 0xc0, 0x7f]);

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();

/** Fills a page, and makes its hashes right again as far as SHA-256 makes them. */
function poison(path: string, filling: Buffer): void {
  const page = readFileSync(path);
  const localAt = HEADER_BYTES + Number(page.readBigUInt64LE(96));
  page.fill(filling, HEADER_BYTES);
  sha256(page.subarray(HEADER_BYTES, localAt)).copy(page, 112);
  sha256(page.subarray(localAt)).copy(page, 144);
  sha256(page.subarray(0, 224)).copy(page, 224);
  writeFileSync(path, page);
}

describe('who can write to the store', { timeout: 60_000 }, () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gemlet-poison-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const pages = (): readonly string[] =>
    readdirSync(folder, { recursive: true })
      .map(String)
      .filter((name) => /^kv\/.*\/\d+-[0-9a-f]{64}$/.test(name))
      .map((name) => join(folder, name));

  /** Asks a process of its own, and ends it. */
  async function askOnce(
    messages: readonly object[],
    options: Partial<EngineOptions> = {},
  ): Promise<{ readonly status: number; readonly body: ChatBody; readonly distrusted: number }> {
    const completer = await createEngine({
      slots: 1,
      threads: 2,
      contextTokens: 2048,
      kvBudgetBytes: 64e6,
      kvStore: folder,
      kvRestore: 'always',
      ...options,
    });
    try {
      const response = await createApp({ completer }).request('/v1/chat/completions', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ temperature: 0, max_tokens: 8, messages }),
      });
      const body = (await response.json()) as ChatBody;
      await completer.drain(5_000);
      const distrusted = completer.stats?.()?.totals.distrusted ?? 0;
      return { status: response.status, body, distrusted };
    } finally {
      await completer.close();
    }
  }

  it('cannot break a conversation: pages that give no numbers are removed and computed again', async () => {
    const first = [{ role: 'user', content: QUESTION }];
    const { body } = await askOnce(first);
    const next = [...first, body.choices[0].message, { role: 'user', content: 'Go on.' }];
    const rest = mkdtempSync(join(tmpdir(), 'gemlet-clean-'));
    const clean = await askOnce(next, { kvStore: rest });
    rmSync(rest, { recursive: true });
    expect(pages().length).toBeGreaterThan(1);
    for (const path of pages()) poison(path, NAN_BYTES);

    const poisoned = await askOnce(next);
    expect(poisoned.status).toBe(200);
    expect(poisoned.distrusted).toBe(1);
    expect(poisoned.body.choices[0].message.content).toBe(clean.body.choices[0].message.content);
    expect(poisoned.body.usage.prompt_tokens_details.cached_tokens).toBe(0);
    for (const path of pages()) expect(readFileSync(path).includes(NAN_BYTES)).toBe(false);

    // Healthy from then on: what was computed again is kept and restored.
    await askOnce(next);
    const healed = await askOnce(next);
    expect(healed).toMatchObject({ status: 200, distrusted: 0 });
    expect(healed.body.usage.prompt_tokens_details.cached_tokens).toBeGreaterThanOrEqual(256);
    expect(healed.body.choices[0].message.content).toBe(clean.body.choices[0].message.content);
  });

  it('cannot put words into a conversation either, where there is a key', async () => {
    const kvStoreKey = 'a key of the server, long enough';
    const first = [{ role: 'user', content: QUESTION }];
    const { body } = await askOnce(first, { kvStoreKey });
    const next = [...first, body.choices[0].message, { role: 'user', content: 'Go on.' }];
    const restored = await askOnce(next, { kvStoreKey });
    expect(restored.body.usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(256);
    for (const path of pages()) poison(path, Buffer.alloc(4));
    const poisoned = await askOnce(next, { kvStoreKey });
    expect(poisoned).toMatchObject({ status: 200, distrusted: 0 });
    expect(poisoned.body.usage.prompt_tokens_details.cached_tokens).toBe(0);
    // Who has another key, or none, meets no page of this one.
    const stranger = await askOnce(next);
    expect(stranger.body.usage.prompt_tokens_details.cached_tokens).toBe(0);
  });

  it('is whoever owns it: files and folders are readable for nobody else', async () => {
    // What an earlier version left.
    mkdirSync(join(folder, 'kv'));
    chmodSync(join(folder, 'kv'), 0o755);
    await askOnce([{ role: 'user', content: QUESTION }]);
    const all = readdirSync(folder, { recursive: true }).map((name) => join(folder, String(name)));
    expect(all.length).toBeGreaterThan(5);
    expect(existsSync(join(folder, 'kv-uses'))).toBe(true);
    for (const path of all) {
      const stats = statSync(path);
      expect([path, stats.mode & 0o777]).toEqual([path, stats.isDirectory() ? 0o700 : 0o600]);
    }
  });
});
