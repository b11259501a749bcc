import { describe, expect, it } from 'vitest';
import { parseInspectOptions, parseServeOptions } from '../../../adapters/cli/options.ts';
import { UsageError } from '../../../adapters/cli/read-options.ts';

const NO_FILES = { api: { given: [], file: null }, metrics: { given: [], file: null } };

const speculates = (value: string) =>
  parseServeOptions([], { GEMLET_SPECULATE: value }).engine.speculates;

const PICTURES = {
  deadlineMs: 5_000,
  limits: { maxBytes: 20_000_000, maxPixels: 50_000_000, maxSide: 16_384 },
};

describe('options of serve', () => {
  it('has defaults that need nothing', () => {
    expect(parseServeOptions([], {})).toEqual({
      engine: {},
      port: 8787,
      host: '127.0.0.1',
      apiKeys: [],
      metricsKeys: [],
      keySources: NO_FILES,
      isPublic: false,
      isOpen: true,
      allowedHosts: [],
      rates: { requestsPerMinute: null, tokensPerMinute: null },
      wrongKeysPerMinute: null,
      proxies: 0,
      corsOrigins: [],
      fleetKeys: [],
      load: 'eager',
      idleUnloadMs: null,
      holdMs: null,
      pingPath: null,
      aliases: [],
      acceptsAnyModel: false,
      drainMs: 8000,
      log: null,
      secrets: [],
      stallMs: null,
      pictures: null,
      bounds: {},
    });
  });

  it('reads every option, and the model also as the first word', () => {
    const args =
      '--model m --name n --port 1 --host h --api-key the-first-of-two-keys --api-key the-second-of-two-keys --metrics-key a-key-for-metrics --allow-host gpu.lan --rate-requests 60 --rate-tokens 9000 --wrong-keys 0 --proxies 1 --cors c --precision exact --head int4 --threads 3 --context 99 --slots 2 --queue 0 --kv-budget 1.5GiB --kv-store s3://b/kv --kv-store-format int8 --kv-store-key abcdefghijklmnop --kv-store-size 2GB --kv-keep-days 0 --prefill-budget 100 --speculate --stall-timeout 30 --image-timeout 5 --image-megapixels 50 --max-concurrent 5 --load lazy --idle-unload 600 --hold 0 --ping /ping --alias gpt-4o --alias gemma --any-model --log pretty --hf-token t --fleet-key 0123456789abcdef --fleet-key fedcba9876543210';
    expect(parseServeOptions(args.split(' '), {})).toEqual({
      engine: {
        model: 'm',
        id: 'n',
        token: 't',
        precision: 'exact',
        head: 'int4',
        threads: 3,
        contextTokens: 99,
        slots: 2,
        kvBudgetBytes: 1.5 * 2 ** 30,
        kvStore: 's3://b/kv',
        kvStoreKey: 'abcdefghijklmnop',
        kvStoreFormat: 'int8',
        kvStoreBytes: 2e9,
        kvKeepDays: 0,
        prefillBudgetMs: 100,
        speculates: true,
        maxWaiting: 0,
        maxPerTenant: 5,
        stallMs: 30_000,
        pictures: PICTURES,
      },
      port: 1,
      host: 'h',
      apiKeys: ['the-first-of-two-keys', 'the-second-of-two-keys'],
      metricsKeys: ['a-key-for-metrics'],
      keySources: {
        api: { given: ['the-first-of-two-keys', 'the-second-of-two-keys'], file: null },
        metrics: { given: ['a-key-for-metrics'], file: null },
      },
      isPublic: true,
      isOpen: false,
      allowedHosts: ['gpu.lan'],
      rates: { requestsPerMinute: 60, tokensPerMinute: 9000 },
      wrongKeysPerMinute: Number.POSITIVE_INFINITY,
      proxies: 1,
      corsOrigins: ['c'],
      load: 'lazy',
      idleUnloadMs: 600_000,
      holdMs: 0,
      fleetKeys: ['0123456789abcdef', 'fedcba9876543210'],
      pingPath: '/ping',
      aliases: ['gpt-4o', 'gemma'],
      acceptsAnyModel: true,
      drainMs: 8000,
      log: 'pretty',
      secrets: [
        'the-first-of-two-keys',
        'the-second-of-two-keys',
        'a-key-for-metrics',
        '0123456789abcdef',
        'fedcba9876543210',
        't',
        'abcdefghijklmnop',
      ],
      stallMs: 30_000,
      pictures: PICTURES,
      bounds: {},
    });
    expect(parseServeOptions(['folder'], {}).engine.model).toBe('folder');
  });

  it('takes the environment where no option is given, and ignores empty variables', () => {
    const environment = {
      GEMLET_FLEET_KEY: '0123456789abcdef,fedcba9876543210',
      GEMLET_MODEL: 'e',
      GEMLET_API_KEY: 'x, y',
      GEMLET_SLOTS: '7',
      GEMLET_HEAD: '',
      GEMLET_LOAD: 'lazy',
      GEMLET_IDLE_UNLOAD: '5',
      GEMLET_HOLD: '20',
      GEMLET_PING: '/ping',
      GEMLET_LOG: 'off',
      GEMLET_STALL_TIMEOUT: '0',
      PORT: '9',
      HF_TOKEN: 'secret',
    };
    const options = parseServeOptions(['--slots', '3'], environment);
    expect(options.engine).toEqual({
      model: 'e',
      token: 'secret',
      slots: 3,
      stallMs: Number.POSITIVE_INFINITY,
    });
    expect(options.apiKeys).toEqual(['x', 'y']);
    expect(options.port).toBe(9);
    expect(options).toMatchObject({
      load: 'lazy',
      idleUnloadMs: 5_000,
      holdMs: 20_000,
      fleetKeys: ['0123456789abcdef', 'fedcba9876543210'],
      pingPath: '/ping',
      drainMs: 8000,
      log: 'off',
      stallMs: Number.POSITIVE_INFINITY,
      bounds: {},
    });
    expect([speculates('1'), speculates('false'), speculates('')]).toEqual([
      true,
      false,
      undefined,
    ]);
    expect(() => speculates('maybe')).toThrow('GEMLET_SPECULATE must be 1, 0, true, false');
  });

  it.each([
    [['--port', '70000'], '--port must be a whole number, 0 to 65535, not "70000".'],
    [['--port', '1.5'], '--port'],
    [['--threads', '0'], '--threads'],
    [['--context', '-5'], "'--context'"],
    [['--precision', 'half'], '--precision must be exact, fast, not "half".'],
    [['--head', 'fp16'], '--head must be int8, int4, float, not "fp16".'],
    [['--kv-budget', 'lots'], '--kv-budget must be a size such as 512MB, 2GiB or 0, not "lots".'],
    [['--kv-budget=-1GB'], '--kv-budget'],
    [['--kv-store-key', 'short'], '--kv-store-key must have 16 characters or more'],
    [['--kv-store-format', 'fp8'], '--kv-store-format must be exact, int8, not "fp8".'],
    [['--load', 'later'], '--load must be eager, lazy, not "later".'],
    [['--idle-unload', '0'], '--idle-unload must be a whole number, 1 to 2073600, not "0".'],
    [['--hold', 'x'], '--hold'],
    [['--api-key', ''], '--api-key must not be empty.'],
    [['--what'], "'--what'"],
    [['a', 'b'], '"b" is one argument too many.'],
  ])('refuses %j', (args, message) => {
    expect(() => parseServeOptions(args, {})).toThrow(UsageError);
    expect(() => parseServeOptions(args, {})).toThrow(message);
  });
});

describe('options of inspect', () => {
  it('wants one model', () => {
    expect(parseInspectOptions(['m', '--json'], { HF_TOKEN: 't' })).toEqual({
      model: 'm',
      token: 't',
      isJson: true,
    });
    expect(() => parseInspectOptions([], {})).toThrow('Say which model');
    expect(() => parseInspectOptions(['a', 'b'], {})).toThrow('too many');
  });
});
