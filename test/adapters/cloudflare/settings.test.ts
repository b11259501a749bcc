import { describe, expect, it } from 'vitest';
import { parseSettings } from '../../../adapters/cloudflare/settings.ts';
import type { WorkerEnv } from '../../../adapters/cloudflare/bindings.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createFakeNamespace } from '../../support/fake-objects.ts';

const GOOD = {
  MODEL_ID: 'google/gemma-3-27b-it',
  CONTEXT_TOKENS: '8192',
  REPLICAS: 'https://one.example.com, https://two.example.com/',
  FLEET_KEYS: 'a key that is long enough',
  API_KEYS: 'the-first-of-two-keys,the-second-of-two-keys',
};

function parse(
  vars: Readonly<Record<string, string | undefined>>,
): ReturnType<typeof parseSettings> {
  const env = { MODELS: {}, SESSIONS: createFakeNamespace(createFakeClock()), ...GOOD, ...vars };
  return parseSettings(env as unknown as WorkerEnv);
}

describe("the Worker's settings", () => {
  it('are filled in where they may be left out or empty', () => {
    const settings = parse({ BUNDLE: '', CORS_ORIGINS: '' });
    expect(settings).toMatchObject({
      bundle: '',
      contextTokens: 8192,
      replicas: ['https://one.example.com', 'https://two.example.com/'],
      affinity: 'pool',
      replicaHeaders: {},
      apiKeys: ['the-first-of-two-keys', 'the-second-of-two-keys'],
      corsOrigins: [],
      sessionIdleMs: 3_600_000,
      imageUrls: { denyHosts: ['one.example.com', 'two.example.com'] },
      webhookSecret: null,
    });
    expect(parse({ FETCH_IMAGE_URLS: 'false' }).imageUrls).toBeNull();
    expect(parse({ FETCH_IMAGE_URLS: 'a.example' }).imageUrls).toMatchObject({
      allowHosts: ['a.example'],
    });
    expect(parse({ CORS_ORIGINS: 'https://a.example, *' }).corsOrigins).toBe('*');
    expect(parse({ API_KEYS: undefined, ALLOW_ANYONE: 'true' }).apiKeys).toBeNull();
    const secret = `whsec_${'QUJD'.repeat(8)}`;
    expect(parse({ WEBHOOK_SECRET: secret }).webhookSecret).toBe(secret);
    expect(parse({ REPLICA_HEADERS: '{"Modal-Key":"k"}' }).replicaHeaders).toEqual({
      'modal-key': 'k',
    });
  });

  it.each([
    [{ MODELS: undefined }, 'MODELS is not bound'],
    [{ MODEL_ID: undefined }, 'MODEL_ID is missing'],
    [{ CONTEXT_TOKENS: '1e99' }, 'CONTEXT_TOKENS must be a whole number'],
    [{ CONTEXT_TOKENS: 'secret-1' }, 'CONTEXT_TOKENS must be a whole number'],
    [{ REPLICAS: '' }, 'REPLICAS is missing'],
    [{ REPLICAS: ' , ' }, 'REPLICAS must be URLs'],
    [{ REPLICAS: 'https://secret-1@example.com' }, 'REPLICAS must be URLs'],
    [{ AFFINITY: 'secret-1' }, 'AFFINITY must be'],
    [{ AFFINITY: 'cookie' }, 'REPLICAS must be one URL where AFFINITY is "cookie"'],
    [{ REPLICA_HEADERS: '{"a": "secret-1"' }, 'REPLICA_HEADERS must be a JSON object'],
    [{ REPLICA_HEADERS: '{"a b": "secret-1"}' }, 'REPLICA_HEADERS must be a JSON object'],
    [{ REPLICA_HEADERS: '["secret-1"]' }, 'REPLICA_HEADERS must be a JSON object'],
    [{ FLEET_KEYS: 'secret-1' }, 'FLEET_KEYS must be 16 characters or longer'],
    [{ API_KEYS: 'secret-1' }, 'API_KEYS must be 16 characters or longer'],
    [{ API_KEYS: undefined }, 'API_KEYS is missing, and ALLOW_ANYONE is not "true"'],
    [{ ALLOW_ANYONE: 'yes' }, 'ALLOW_ANYONE must be "true" or "false"'],
    [{ FETCH_IMAGE_URLS: 'secret-1' }, 'FETCH_IMAGE_URLS must be on, off, or hosts'],
    [{ BUNDLE: '../secret-1' }, 'BUNDLE must be a folder'],
    [{ WEBHOOK_SECRET: 'secret-1' }, 'WEBHOOK_SECRET must be whsec_ and the base64 of 24 to 64'],
    [{ WEBHOOK_SECRET: 'whsec_c2VjcmV0LTE=' }, 'WEBHOOK_SECRET must be whsec_ and the base64'],
    [{ WEBHOOK_SECRET: `whsec_${'QUJD'.repeat(22)}` }, 'WEBHOOK_SECRET must be whsec_'],
    [{ SESSION_IDLE_SECONDS: '0' }, 'SESSION_IDLE_SECONDS must be a whole number from 1'],
  ])('%j are refused by name, and never with their value', (vars, message) => {
    let thrown: unknown;
    try {
      parse(vars);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({
      code: 'backend_unavailable',
      message: expect.stringContaining(message),
    });
    expect(String(thrown)).not.toContain('secret-1');
  });
});
