import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createNodeRequest,
  createNodeSafeFetch,
  type NodeSafeFetchOptions,
  type ResolveHost,
} from '../../adapters/node/safe-fetch.ts';
import { describeSafeRequest } from '../contracts/describe-safe-request.ts';
import { HOSTILE_URLS } from '../support/hostile-urls.ts';
import { startLoopbackServer, type LoopbackServer } from '../support/loopback-server.ts';
import { createSelfSigned } from '../support/self-signed.ts';
import { rejectedBy } from '../support/thrown-by.ts';

describeSafeRequest('the Node request', createNodeRequest());

const NAME = 'pictures.example.org';
const loopback: ResolveHost = async () => [{ address: '127.0.0.1', family: 4 }];
const missing: ResolveHost = () => Promise.reject(new Error('ENOTFOUND'));
const none: ResolveHost = async () => [];
const stalls: ResolveHost = () => new Promise(() => {});
/** One name outside, all others inside. */
const split: ResolveHost = async (host) => [
  { address: host === NAME ? '127.0.0.1' : '10.0.0.7', family: 4 },
];
const allowLoopback = (address: string): boolean => address === '127.0.0.1';

describe('createNodeSafeFetch', () => {
  let server: LoopbackServer;
  /** Everything but the loopback address itself is allowed that a test on loopback needs. */
  let options: NodeSafeFetchOptions;

  beforeEach(async () => {
    server = await startLoopbackServer((request, response) => {
      switch (request.url) {
        case '/picture':
          return response.end('a picture');
        case '/slow':
          // Headers and one byte, then nothing: a slow loris.
          return response.write('x');
        case '/silent':
          return undefined;
        case '/endless': {
          const more = (): void => {
            while (response.write(Buffer.alloc(65_536)));
            response.once('drain', more);
          };
          return more();
        }
        case '/bomb':
          return response
            .writeHead(200, { 'content-encoding': 'gzip' })
            .end(gzipSync(Buffer.alloc(10_000_000)));
        case '/short':
          response.writeHead(200, { 'content-length': '100' }).write('only this');
          return setImmediate(() => response.destroy());
        case '/loop':
          return response.writeHead(302, { location: '/loop' }).end();
        default:
          // Whatever follows /to/ is where it leads.
          return response
            .writeHead(302, { location: decodeURIComponent((request.url ?? '').slice(4)) })
            .end();
      }
    });
    options = { allowHttp: true, ports: [server.port], resolve: loopback, timeoutMs: 20_000 };
  });
  afterEach(() => server.close());

  const url = (path: string, host = NAME): string => `http://${host}:${server.port}${path}`;

  it('fetches a file from an address that is allowed', async () => {
    const fetchUrl = createNodeSafeFetch({ ...options, allowAddress: allowLoopback });
    expect(Buffer.from(await fetchUrl(url('/picture'))).toString()).toBe('a picture');
    await server.idle();
  });

  it('never connects for a URL that spells a private address', async () => {
    const fetchUrl = createNodeSafeFetch(options);
    for (const hostile of HOSTILE_URLS) {
      const target = new URL('/picture', hostile.replace('https:', 'http:'));
      target.port = String(server.port);
      const error = await rejectedBy(fetchUrl(target.href, { param: 'p' }));
      expect([error.code, error.param], hostile).toEqual(['invalid_url', 'p']);
    }
    expect(server.connectionCount()).toBe(0);
  });

  it('never connects to a public name that resolves to a private address', async () => {
    const error = await rejectedBy(createNodeSafeFetch(options)(url('/picture')));
    expect(error.code).toBe('invalid_url');
    expect(error.message).not.toContain('127.');
    expect(server.connectionCount()).toBe(0);
  });

  it('refuses a name as soon as one of its addresses is private', async () => {
    for (const address of ['127.0.0.1', '::1', '::ffff:127.0.0.1', '10.0.0.1', 'fe80::1%lo']) {
      const resolve: ResolveHost = async () => [
        { address: '93.184.216.34', family: 4 },
        { address, family: address.includes(':') ? 6 : 4 },
      ];
      const error = await rejectedBy(createNodeSafeFetch({ ...options, resolve })(url('/picture')));
      expect(error.code, address).toBe('invalid_url');
    }
    expect(server.connectionCount()).toBe(0);
  });

  it('tells a name that is private from one that does not exist by nothing', async () => {
    const messages = await Promise.all(
      [loopback, missing, none].map(async (resolve) => {
        const error = await rejectedBy(
          createNodeSafeFetch({ ...options, resolve })(url('/picture')),
        );
        return `${error.code} ${error.message} ${String(error.cause)}`;
      }),
    );
    expect(new Set(messages).size).toBe(1);
  });

  it('asks the resolver once and connects to what it was told then', async () => {
    let asked = 0;
    // A rebinding resolver: the first answer is allowed, the second would not be.
    const resolve: ResolveHost = async () => {
      asked += 1;
      return [{ address: asked === 1 ? '127.0.0.1' : '127.0.0.2', family: 4 }];
    };
    const fetchUrl = createNodeSafeFetch({ ...options, resolve, allowAddress: allowLoopback });
    expect(Buffer.from(await fetchUrl(url('/picture'))).toString()).toBe('a picture');
    expect(asked).toBe(1);
    expect((await rejectedBy(fetchUrl(url('/picture')))).code).toBe('invalid_url');
  });

  it('does not follow a redirect to a private address, name or spelling', async () => {
    const inside = await startLoopbackServer((_request, response) => response.end('secret'));
    // Allows the first hop alone: what the redirect leads to is judged like any other URL.
    let hops = 0;
    const allowAddress = (address: string): boolean => address === '127.0.0.1' && hops++ === 0;
    const ports = [server.port, inside.port];
    try {
      for (const host of ['127.0.0.1', '2130706433', '[::1]', 'localhost', 'other.example.org']) {
        hops = 0;
        const fetchUrl = createNodeSafeFetch({ ...options, ports, resolve: split, allowAddress });
        const target = encodeURIComponent(`http://${host}:${inside.port}/`);
        const error = await rejectedBy(fetchUrl(url(`/to/${target}`)));
        expect(error.code, host).toBe('invalid_url');
      }
      expect(inside.connectionCount()).toBe(0);
      expect(server.requests).toHaveLength(5);
    } finally {
      await inside.close();
    }
  });

  it('gives up on redirects that go round', async () => {
    const fetchUrl = createNodeSafeFetch({ ...options, allowAddress: allowLoopback });
    expect((await rejectedBy(fetchUrl(url('/loop')))).message).toContain('more than 3 times');
    expect(server.requests).toHaveLength(4);
    await server.idle();
  });

  it('gives up on servers that stall, before and within the answer', async () => {
    const fetchUrl = createNodeSafeFetch({
      ...options,
      timeoutMs: 150,
      allowAddress: allowLoopback,
    });
    for (const path of ['/slow', '/silent']) {
      const error = await rejectedBy(fetchUrl(url(path)));
      expect(error.code).toBe('invalid_image');
      expect(error.message).toContain('longer than 0.15 s');
    }
    await server.idle();
  });

  it('gives up on a resolver that stalls', async () => {
    const fetchUrl = createNodeSafeFetch({ ...options, resolve: stalls, timeoutMs: 50 });
    expect((await rejectedBy(fetchUrl(url('/picture')))).message).toContain('longer than');
  });

  it('stops an endless body at the cap', async () => {
    const fetchUrl = createNodeSafeFetch({
      ...options,
      maxBytes: 1_000_000,
      allowAddress: allowLoopback,
    });
    expect((await rejectedBy(fetchUrl(url('/endless')))).code).toBe('image_too_large');
    await server.idle();
  });

  it('refuses compressed bodies unread', async () => {
    const fetchUrl = createNodeSafeFetch({ ...options, allowAddress: allowLoopback });
    expect((await rejectedBy(fetchUrl(url('/bomb')))).message).toContain('compressed');
    await server.idle();
  });

  it('notices a body that breaks off', async () => {
    const fetchUrl = createNodeSafeFetch({ ...options, allowAddress: allowLoopback });
    const error = await rejectedBy(fetchUrl(url('/short')));
    expect(error.code).toBe('invalid_image');
    expect(error.message).toContain('broke off');
  });

  it('drops the connection when the caller aborts', async () => {
    const controller = new AbortController();
    const gone = new Error('gone');
    const allowAddress = allowLoopback;
    const pending = createNodeSafeFetch({ ...options, allowAddress })(url('/endless'), {
      signal: controller.signal,
    });
    setImmediate(() => controller.abort(gone));
    await expect(pending).rejects.toBe(gone);
    await server.idle();
  });

  it('ignores proxy settings of the environment', async () => {
    const proxy = await startLoopbackServer((_request, response) => response.end('from a proxy'));
    const names = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'ALL_PROXY', 'NODE_USE_ENV_PROXY'];
    for (const name of names) process.env[name] = `http://127.0.0.1:${proxy.port}`;
    try {
      const fetchUrl = createNodeSafeFetch({ ...options, allowAddress: allowLoopback });
      expect(Buffer.from(await fetchUrl(url('/picture'))).toString()).toBe('a picture');
      expect(proxy.connectionCount()).toBe(0);
    } finally {
      for (const name of names) delete process.env[name];
      await proxy.close();
    }
  });

  it('refuses a certificate nobody vouches for, whatever the environment says', async () => {
    const tls = await startLoopbackServer(
      (_request, response) => response.end('a picture'),
      createSelfSigned(NAME),
    );
    const before = process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    try {
      const fetchUrl = createNodeSafeFetch({
        ports: [tls.port],
        resolve: loopback,
        allowAddress: allowLoopback,
      });
      const error = await rejectedBy(fetchUrl(`https://${NAME}:${tls.port}/picture`));
      expect(error.code).toBe('invalid_image');
      expect((error.cause as NodeJS.ErrnoException).code).toBe('DEPTH_ZERO_SELF_SIGNED_CERT');
      expect(tls.requests).toEqual([]);
      expect(tls.connectionCount()).toBe(1);
    } finally {
      if (before === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
      else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before;
      await tls.close();
    }
  });
});
