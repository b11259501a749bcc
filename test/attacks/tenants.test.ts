import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createApp } from '../../src/app.ts';
import { createAppHarness } from '../support/app-harness.ts';
import { createFakeEngineCompleter } from '../support/fake-engine-completer.ts';
import { createSessionHarness } from '../support/session-harness.ts';
import { contentOfWords, words } from '../support/session-memory.ts';
import { createStubCompleter } from '../support/stub-completer.ts';
import { countTries } from '../support/tries.ts';

const OWNER = 'key-of-the-owner-0123';
const OTHER = 'key-of-another-user-4';
const CHAT = '/v1/chat/completions';
const as = (key: string, more: object = {}): RequestInit => ({
  headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...more },
});

const tenantOf = (key: string): string =>
  createHash('sha256').update(key).digest('hex').slice(0, 32);

/** Ids that mean something to paths, shells, stores or people. */
const IDS = [
  'chat',
  'chat 1',
  'a/b',
  '../a',
  'a/../b',
  '%2e%2e',
  'a%2fb',
  'a;b',
  'a?b',
  'a#b',
  'a\\b',
  '*',
  '~',
  '$(id)',
  'con',
  '__proto__',
  'constructor',
  'é',
  'e\u0301',
  '💬',
  'x'.repeat(64),
];

describe("another user's", () => {
  it('sessions cannot be seen, changed, forked or removed, whatever they are called', async (context) => {
    const tries = countTries(context);
    for (const id of IDS) {
      const { registry, turn } = createSessionHarness();
      turn(id, contentOfWords(words(0, 8)), 'one', tenantOf(OWNER));
      const completer = Object.assign(createStubCompleter(), { sessions: registry });
      const app = createAppHarness({ completer, apiKeys: [OWNER, OTHER] });
      const path = `/v1/sessions/${encodeURIComponent(id)}`;
      const put = { method: 'PUT', ...as(OWNER) };
      const made = await app.send(path, { metadata: { a: 'mine' } }, put);
      expect([id, made.status]).toEqual([id, 200]);
      for (const [method, place, body] of [
        ['GET', path, undefined],
        ['DELETE', path, undefined],
        ['POST', `${path}/fork`, { id: 'copy' }],
      ] as const) {
        const answer = await app.send(place, body, { method, ...as(OTHER) });
        tries.note(`${method} ${id}: ${answer.status}`, [400, 404].includes(answer.status));
      }
      const list = await (await app.send('/v1/sessions', undefined, as(OTHER))).text();
      tries.note(`the list, ${id}`, !list.includes('mine'));
      const still = await app.send(path, undefined, as(OWNER));
      tries.note(`${id} is still there: ${still.status}`, still.status === 200);
    }
    tries.end();
  });

  it('answers to fetch later are not found', async (context) => {
    const tries = countTries(context);
    const app = createAppHarness({ apiKeys: [OWNER, OTHER] });
    const asked = await app.send(
      CHAT,
      { messages: [{ role: 'user', content: 'Hi' }] },
      as(OWNER, { prefer: 'respond-async' }),
    );
    expect(asked.status).toBe(202);
    const { id } = (await asked.json()) as { readonly id: string };
    for (const method of ['GET', 'DELETE']) {
      const { status } = await app.send(`/v1/jobs/${id}`, undefined, { method, ...as(OTHER) });
      tries.note(`${method}: ${status}`, status === 404);
    }
    tries.end();
    expect((await app.send(`/v1/jobs/${id}`, undefined, as(OWNER))).status).toBe(200);
  });

  it('prompts are not found in any cache, nor by another salt', async (context) => {
    const tries = countTries(context);
    const { completer } = createFakeEngineCompleter({ kvBudgetBytes: 1e7 });
    const app = createApp({ completer, apiKeys: [OWNER, OTHER] });
    const content = 'what I ask is my own affair, is it not? '.repeat(3);
    const cachedFor = async (key: string, salt?: string): Promise<number> => {
      const response = await app.request(CHAT, {
        method: 'POST',
        ...as(key),
        body: JSON.stringify({
          messages: [{ role: 'user', content }],
          max_tokens: 1,
          ...(salt === undefined ? {} : { cache_salt: salt }),
        }),
      });
      expect(response.status).toBe(200);
      const { usage } = (await response.json()) as {
        readonly usage: { readonly prompt_tokens_details: { readonly cached_tokens: number } };
      };
      return usage.prompt_tokens_details.cached_tokens;
    };
    await cachedFor(OWNER);
    // Else there would be nothing to find.
    expect(await cachedFor(OWNER)).toBeGreaterThan(0);
    for (const salt of [OWNER, '0', 'null', 'undefined', '__proto__']) {
      tries.note(`the owner's, by the salt ${salt}`, (await cachedFor(OWNER, salt)) === 0);
      tries.note(`another's, by the salt ${salt}`, (await cachedFor(OTHER, salt)) === 0);
    }
    tries.end();
    await completer.close();
  });
});
