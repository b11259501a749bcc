import { expect, test } from 'vitest';
import { createSigner, createVerifier, keyedName } from '../../src/fleet/signing.ts';

const OLD = 'the key of yesterday';
const NEW = 'the key of tomorrow!';
const BODY = new TextEncoder().encode('{"a":1}');

function at(startMs: number): { now: () => number; pass(ms: number): void } {
  let nowMs = startMs;
  return {
    now: () => nowMs,
    pass(ms) {
      nowMs += ms;
    },
  };
}

test('a signature holds for exactly what was signed', async () => {
  const clock = at(1_000_000);
  const header = await createSigner([NEW], clock.now).sign('POST', '/replica/v1/generate', BODY);
  const verifier = createVerifier([NEW], clock.now);
  const wrong: [string, string, string, Uint8Array][] = [
    ['GET', '/replica/v1/generate', header, BODY],
    ['POST', '/replica/v1/cancel', header, BODY],
    ['POST', '/replica/v1/generate', header, BODY.subarray(1)],
    [
      'POST',
      '/replica/v1/generate',
      header.replace(/s=0|s=./, (first) => (first === 's=0' ? 's=1' : 's=0')),
      BODY,
    ],
    ['POST', '/replica/v1/generate', header.replace('t=1000000', 't=1000001'), BODY],
    ['POST', '/replica/v1/generate', '', BODY],
    ['POST', '/replica/v1/generate', header.toUpperCase(), BODY],
  ];
  for (const call of wrong) {
    await expect(verifier.verify(...call)).rejects.toMatchObject({ code: 'invalid_api_key' });
  }
  await verifier.verify('POST', '/replica/v1/generate', header, BODY);
});

test('a request that was seen is refused, and so is one from another hour', async () => {
  const clock = at(5_000_000);
  const signer = createSigner([NEW], clock.now);
  const verifier = createVerifier([NEW], clock.now);
  const header = await signer.sign('POST', '/x', BODY);
  await verifier.verify('POST', '/x', header, BODY);
  await expect(verifier.verify('POST', '/x', header, BODY)).rejects.toThrow('seen before');
  clock.pass(119_000);
  await expect(verifier.verify('POST', '/x', header, BODY)).rejects.toThrow('seen before');
  clock.pass(2_000);
  await expect(verifier.verify('POST', '/x', header, BODY)).rejects.toThrow('clocks');
  const early = at(clock.now() + 121_000);
  const future = await createSigner([NEW], early.now).sign('POST', '/x', BODY);
  await expect(verifier.verify('POST', '/x', future, BODY)).rejects.toThrow('clocks');
});

test('keys change without a pause', async () => {
  const clock = at(0);
  const both = createVerifier([NEW, OLD], clock.now);
  for (const keys of [[OLD], [OLD, NEW], [NEW, OLD], [NEW]]) {
    await both.verify(
      'GET',
      '/x',
      await createSigner(keys, clock.now).sign('GET', '/x', BODY),
      BODY,
    );
  }
  const last = createVerifier([NEW], clock.now);
  const header = await createSigner([OLD, NEW], clock.now).sign('GET', '/x', BODY);
  await expect(last.verify('GET', '/x', header, BODY)).rejects.toThrow('not valid here');
});

test('short keys are no secrets', () => {
  expect(() => createSigner(['short'], Date.now)).toThrow(RangeError);
  expect(() => createVerifier([], Date.now)).toThrow(RangeError);
});

test('a keyed name tells nothing and differs by key', async () => {
  const name = await keyedName(NEW, 'session of somebody');
  expect(name).toMatch(/^[0-9a-f]{32}$/);
  expect(await keyedName(NEW, 'session of somebody')).toBe(name);
  expect(await keyedName(OLD, 'session of somebody')).not.toBe(name);
});
