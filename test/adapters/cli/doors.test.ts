import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openKeys } from '../../../adapters/cli/doors/open-keys.ts';
import { startNotices } from '../../../adapters/cli/doors/start-notices.ts';
import { parseGatewayOptions } from '../../../adapters/cli/gateway-options.ts';
import { parseServeOptions } from '../../../adapters/cli/options.ts';
import { UsageError } from '../../../adapters/cli/read-options.ts';
import { createApp } from '../../../src/app.ts';
import type { FailureEvent } from '../../../src/log/failure-record.ts';
import { createStubCompleter } from '../../support/stub-completer.ts';

const KEY = 'a-key-of-one-client';
const FLEET = '--fleet-key shared-by-the-whole-fleet';
const PUBLIC = '--host 0.0.0.0';

const folder = mkdtempSync(join(tmpdir(), 'gemlet-doors-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function fileWith(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const words = (line: string): string[] => line.split(' ').filter((word) => word !== '');
const serve = (line: string, environment: Record<string, string> = {}) =>
  parseServeOptions(words(line), environment);
const gateway = (line: string, environment: Record<string, string> = {}) =>
  parseGatewayOptions(words(`--replica http://r ${FLEET} ${line}`), environment);

describe('what other machines reach', () => {
  it.each(['0.0.0.0', '::', '192.168.1.5', 'gpu.lan'])('asks for a key on %s', (host) => {
    for (const parse of [serve, gateway]) {
      expect(() => parse(`--host ${host}`)).toThrow(UsageError);
      expect(() => parse(`--host ${host}`)).toThrow(`Other machines can connect to ${host}`);
      expect(parse(`--host ${host} --api-key ${KEY}`).isOpen).toBe(false);
      expect(parse(`--host ${host} --allow-anyone`).isOpen).toBe(true);
      expect(parse(`--host ${host}`, { GEMLET_ALLOW_ANYONE: '1' }).isOpen).toBe(true);
      // Whoever gives a key wants it asked for.
      expect(parse(`--host ${host} --allow-anyone --api-key ${KEY}`).isOpen).toBe(false);
    }
  });

  it.each(['127.0.0.1', '127.8.8.8', '::1', 'localhost'])('is not what listens on %s', (host) => {
    expect(serve(`--host ${host}`)).toMatchObject({ isPublic: false, isOpen: true });
  });

  it('has keys of 16 characters or more, and digests of any', () => {
    const short = `${PUBLIC} --api-key 0123456789abcde`;
    expect(() => serve(short)).toThrow('--api-key must have 16 characters or more');
    expect(() => serve(`${PUBLIC} --api-key ${KEY} --metrics-key short`)).toThrow(
      '--metrics-key must',
    );
    const digest = createHash('sha256').update('short').digest('hex');
    expect(serve(`${PUBLIC} --api-key sha256:${digest}`).isOpen).toBe(false);
    expect(() => serve('--api-key sha256:12')).toThrow('64 hex digits');
  });

  it('answers gateways alone where it has only the key that they share', async () => {
    const replica = serve(`${PUBLIC} ${FLEET}`);
    expect(replica).toMatchObject({ isPublic: true, isOpen: false, apiKeys: [] });
    const keys = openKeys(replica, () => undefined);
    const app = createApp({ completer: createStubCompleter(), ...keys.doors });
    for (const path of ['/v1/models', '/metrics', '/openapi.json', '/v1/sessions']) {
      const headers = { authorization: 'Bearer shared-by-the-whole-fleet' };
      expect([path, (await app.request(path, { headers })).status]).toEqual([path, 401]);
    }
    expect((await app.request('/health/ready')).status).toBe(200);
    keys.close();
    expect(serve(`${PUBLIC} ${FLEET} --allow-anyone`).isOpen).toBe(true);
    expect(serve(FLEET).isOpen).toBe(true);
  });
});

describe('a secret that is there and empty', () => {
  it.each(['GEMLET_API_KEY', 'GEMLET_METRICS_KEY', 'GEMLET_API_KEY_FILE'])(
    'is no missing one: %s',
    (name) => {
      expect(() => serve('', { [name]: '' })).toThrow(`${name} is empty`);
    },
  );

  it('lets nobody in as the key of a fleet', () => {
    expect(serve('', { GEMLET_FLEET_KEY: '' }).fleetKeys).toEqual([]);
    expect(() => serve(PUBLIC, { GEMLET_FLEET_KEY: '' })).toThrow('Other machines can connect');
    expect(() => parseGatewayOptions(['--replica=http://r'], { GEMLET_FLEET_KEY: '' })).toThrow(
      'Say which key',
    );
  });

  it('is of no account beside an option, and refused among several', () => {
    expect(serve(`--api-key ${KEY}`, { GEMLET_API_KEY: '' }).apiKeys).toEqual([KEY]);
    expect(() => serve('', { GEMLET_API_KEY: `${KEY},` })).toThrow('--api-key must not be empty');
    expect(() => serve('', { GEMLET_API_KEY: ' ' })).toThrow('--api-key must not be empty');
  });
});

describe('names that requests may come under', () => {
  it.each(['gpu.lan', '*.example.org', '*'])('may be %s', (name) => {
    expect(serve(`--allow-host ${name}`).allowedHosts).toEqual([name]);
  });

  it.each(['gpu.lan:8787', 'http://gpu.lan', '*gpu', 'gpu.*', ''])('cannot be "%s"', (name) => {
    expect(() => parseServeOptions([`--allow-host=${name}`], {})).toThrow('--allow-host must be');
  });
});

describe('files of keys', () => {
  it('hold one a line, beside those of options', () => {
    const path = fileWith('keys', `# clients\n${KEY}\n\n  another-key-of-a-client  \r\n`);
    const keys = [KEY, 'another-key-of-a-client'];
    expect(serve(`${PUBLIC} --api-key-file ${path}`).apiKeys).toEqual(keys);
    const given = serve('--api-key given', { GEMLET_API_KEY_FILE: path });
    expect(given.apiKeys).toEqual(['given', ...keys]);
    expect(given.secrets).toEqual(['given', ...keys]);
    expect(serve(`--metrics-key-file ${path}`).metricsKeys).toEqual(keys);
    expect(serve(`--fleet-key-file ${path}`).fleetKeys).toEqual(keys);
    const settings = parseGatewayOptions(words(`--replica http://r --fleet-key-file ${path}`), {});
    expect(settings.target).toMatchObject({ gateway: { keys } });
  });

  it.each([
    ['--api-key-file /no/such/file', 'The keys of /no/such/file cannot be read'],
    [`--api-key-file ${fileWith('empty', '# nothing\n')}`, 'holds no key'],
    [`${PUBLIC} --api-key-file ${fileWith('short', 'short\n')}`, '16 characters'],
    [`--fleet-key-file ${fileWith('hashed', `sha256:${'0'.repeat(64)}`)}`, 'Fleet keys sign'],
  ])('are refused: %s', (line, message) => {
    expect(() => serve(line)).toThrow(message);
  });

  it.each(['on SIGHUP', 'when the file changes'])('are read again %s', async (when) => {
    const path = fileWith('rotated', `${KEY}\n`);
    const failures: FailureEvent[] = [];
    const settings = serve(`--api-key given --api-key-file ${path}`);
    const watchMs = when === 'on SIGHUP' ? 3_600_000 : 5;
    const log = (event: { readonly type: string }) => failures.push(event as FailureEvent);
    const keys = openKeys(settings, log, watchMs);
    const app = createApp({ completer: createStubCompleter(), ...keys.doors });
    const isLetIn = async (key: string): Promise<boolean> =>
      (await app.request('/v1/models', { headers: { 'x-api-key': key } })).status === 200;
    const write = (text: string): void => {
      writeFileSync(path, text);
      if (when === 'on SIGHUP') process.emit('SIGHUP', 'SIGHUP');
    };
    try {
      expect(await isLetIn(KEY)).toBe(true);
      write('a-key-that-is-new\n');
      while (!(await isLetIn('a-key-that-is-new'))) await new Promise(setImmediate);
      expect([await isLetIn(KEY), await isLetIn('given')]).toEqual([false, true]);
      write('# emptied by mistake\n');
      while (failures.length === 0) await new Promise(setImmediate);
      expect(failures[0]).toMatchObject({ type: 'failure', level: 'error' });
      expect(await isLetIn('a-key-that-is-new')).toBe(true);
    } finally {
      keys.close();
    }
    expect(process.listenerCount('SIGHUP')).toBe(0);
  });
});

describe('what is said at the start', () => {
  const NODE = '24.1.0';

  it('is nothing where all is well', () => {
    expect(startNotices(serve(''), NODE)).toEqual([]);
    expect(startNotices(serve(`${PUBLIC} --api-key ${KEY}`), NODE)).toEqual([]);
  });

  it.each([
    [`${PUBLIC} --allow-anyone`, NODE, 'Anyone who reaches this machine'],
    [`${PUBLIC} ${FLEET}`, NODE, 'Only gateways with the fleet key are let in'],
    ['--api-key secret', NODE, 'fewer than 16 characters'],
    ['', '20.20.2', 'Node.js 20.20.2 gets no more security fixes: run gemlet on Node.js 24.'],
  ])('%s, on Node.js %s', (line, version, notice) => {
    expect(startNotices(serve(line), version)).toEqual([expect.stringContaining(notice)]);
  });
});
