import { describe, expect, it } from 'vitest';
import { parseServeOptions } from '../../adapters/cli/options.ts';
import { parseGatewayOptions } from '../../adapters/cli/gateway-options.ts';
import { parseImageUrls } from '../../src/image/image-urls.ts';

describe('parseImageUrls', () => {
  it('knows all, none, and hosts', () => {
    expect(['on', 'TRUE'].map(parseImageUrls)).toEqual([{}, {}]);
    expect(['off', 'false'].map(parseImageUrls)).toEqual([null, null]);
    expect(parseImageUrls('A.example, *.b.example,')).toEqual({
      allowHosts: ['a.example', '*.b.example'],
    });
  });

  it.each(['', ',', 'no', 'on,a.example', 'https://a.example', 'a.example:80', '*', '*.*.example'])(
    'refuses "%s"',
    (text) => {
      expect(() => parseImageUrls(text)).toThrow('must be on, off, or hosts such as');
    },
  );
});

describe('--image-urls', () => {
  it('reaches the engine, the fleet and the upstream', () => {
    const allowHosts = ['a.example'];
    expect(parseServeOptions(['--image-urls', 'a.example'], {}).engine.imageUrls).toEqual({
      allowHosts,
    });
    expect(parseServeOptions([], { GEMLET_IMAGE_URLS: 'off' }).engine.imageUrls).toBeNull();
    expect('imageUrls' in parseServeOptions([], {}).engine).toBe(false);
    const fleet = ['--replica', 'http://r', '--fleet-key', '0123456789abcdef', '--image-urls'];
    expect(parseGatewayOptions([...fleet, 'off'], {}).target).toMatchObject({
      gateway: { imageUrls: null },
    });
    const upstream = ['--upstream', 'http://u', '--image-urls', 'a.example'];
    expect(parseGatewayOptions(upstream, {}).target).toMatchObject({
      upstream: { imageUrls: { allowHosts } },
    });
  });

  it('is refused with how to write it', () => {
    expect(() => parseServeOptions(['--image-urls', 'maybe'], {})).toThrow(
      '--image-urls must be on, off, or hosts such as example.com,*.example.org, not "maybe".',
    );
  });
});
