import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { callerName } from '../../../adapters/cloudflare/caller.ts';

const KEY = 'the-key-of-a-client';
const HASHED = `sha256:${createHash('sha256').update('another').digest('hex')}`;
const name = (headers: Record<string, string>, keys: readonly string[] | null = [KEY, HASHED]) =>
  callerName(new Headers({ 'cf-connecting-ip': '203.0.113.7', ...headers }), keys);

it('counts right keys each for itself, from wherever they come', async () => {
  const here = await name({ authorization: `Bearer ${KEY}` });
  expect(here).toMatch(/^key [0-9a-f]{32}$/);
  expect(await name({ 'x-api-key': KEY, 'cf-connecting-ip': '203.0.113.8' })).toBe(here);
  const other = await name({ 'x-api-key': 'another' });
  expect(other).toMatch(/^key /);
  expect(other).not.toBe(here);
});

it('counts made-up keys, none, and all where everyone is let in, by address', async () => {
  const address = 'address 203.0.113.7';
  expect(await name({})).toBe(address);
  expect(await name({ 'x-api-key': 'made-up' })).toBe(address);
  expect(await name({ 'x-api-key': HASHED })).toBe(address);
  expect(await name({ 'x-api-key': KEY }, null)).toBe(address);
});
