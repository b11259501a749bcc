import { describe, expect, it } from 'vitest';
import { isPublicAddress } from '../../src/image/public-address.ts';
import { checkUrl, hostOf, isAllowedAddress } from '../../src/image/safe-url.ts';
import { HOSTILE_URLS, REFUSED_URLS } from '../support/hostile-urls.ts';
import { thrownBy } from '../support/thrown-by.ts';

describe('checkUrl', () => {
  for (const url of [
    'https://example.com/cat.png?size=1#top',
    'https://EXAMPLE.com:443/',
    'https://example.com./cat.png',
    ' https://upload.wikimedia.org/a%20b.jpg ',
    'https://xn--bcher-kva.example.com/',
    'https://8.8.8.8/',
    'https://[2606:4700:4700::1111]/',
    'https://1.1.1.1.example.org/',
    'https://localhost.example.com/',
  ]) {
    it(`takes ${url}`, () => {
      expect(checkUrl(url).protocol).toBe('https:');
    });
  }

  for (const url of HOSTILE_URLS) {
    it(`refuses ${url}`, () => {
      const error = thrownBy(() => checkUrl(url));
      expect(error.code).toBe('invalid_url');
      // The same words for all: nobody learns what exists inside.
      expect(error.message).toContain('does not lead to a public internet address');
      // Nor does plain http change anything.
      const http = url.replace('https:', 'http:');
      expect(thrownBy(() => checkUrl(http, { allowHttp: true })).message).toBe(error.message);
    });
  }

  for (const url of REFUSED_URLS) {
    it(`refuses ${JSON.stringify(url)}`, () => {
      const error = thrownBy(() => checkUrl(url));
      expect(error.code).toBe('invalid_url');
      expect(error.message).not.toContain('secret');
    });
  }

  it('takes http, and port 80, only when told to', () => {
    expect(checkUrl('http://example.com/', { allowHttp: true }).port).toBe('');
    expect(thrownBy(() => checkUrl('http://example.com/')).message).toContain('https');
    const other = { allowHttp: true, ports: [8080] };
    expect(checkUrl('http://example.com:8080/', other).port).toBe('8080');
    expect(thrownBy(() => checkUrl('http://example.com/', other)).message).toContain('port 80');
  });

  it('holds to lists of hosts, exact or below a domain', () => {
    const policy = { allowHosts: ['a.example.com', '*.cdn.example.org'] };
    expect(hostOf(checkUrl('https://A.example.com/', policy))).toBe('a.example.com');
    expect(hostOf(checkUrl('https://x.y.cdn.example.org./', policy))).toBe('x.y.cdn.example.org');
    for (const host of ['b.example.com', 'cdn.example.org', 'evilcdn.example.org', 'example.com']) {
      expect(thrownBy(() => checkUrl(`https://${host}/`, policy)).message).toContain('list');
    }
    const deny = { denyHosts: ['*.example.com'] };
    expect(thrownBy(() => checkUrl('https://a.example.com/', deny)).code).toBe('invalid_url');
    expect(hostOf(checkUrl('https://example.com/', deny))).toBe('example.com');
  });

  it('does not let a list of hosts open an address that is not public', () => {
    const policy = { allowHosts: ['127.0.0.1', 'localhost'] };
    expect(thrownBy(() => checkUrl('https://127.0.0.1/', policy)).code).toBe('invalid_url');
    expect(thrownBy(() => checkUrl('https://localhost/', policy)).code).toBe('invalid_url');
  });

  it('opens single addresses only by allowAddress', () => {
    const policy = { allowAddress: (address: string) => address === '127.0.0.1' };
    expect(hostOf(checkUrl('https://127.0.0.1/', policy))).toBe('127.0.0.1');
    expect(thrownBy(() => checkUrl('https://127.0.0.2/', policy)).code).toBe('invalid_url');
    expect(isAllowedAddress('127.0.0.1', policy)).toBe(true);
    expect(isAllowedAddress('10.0.0.1', policy)).toBe(false);
  });

  it('refuses endless URLs', () => {
    expect(thrownBy(() => checkUrl(`https://example.com/${'a'.repeat(9000)}`)).message).toContain(
      '8192',
    );
  });
});

describe('isPublicAddress', () => {
  it('takes nothing but canonical public addresses', () => {
    for (const address of ['8.8.8.8', '93.184.216.34', '2606:4700::1111', '2a00:1450::1']) {
      expect(isPublicAddress(address), address).toBe(true);
    }
    for (const address of ['', 'example.com', 'fe80::1%eth0', '2606:4700::1%1', '::ffff:8.8.8.8']) {
      expect(isPublicAddress(address), address).toBe(false);
    }
  });
});
