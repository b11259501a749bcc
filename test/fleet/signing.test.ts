import { expect, test } from 'vitest';
import { createSigner, createVerifier, keyedName, type Verifier } from '../../src/fleet/signing.ts';

const OLD = 'the key of yesterday';
const NEW = 'the key of tomorrow!';
/** Whether exactly this was signed. */
async function verify(
  verifier: Verifier,
  method: string,
  path: string,
  header: string | null,
  content: Uint8Array,
): Promise<void> {
  await (await verifier.admit(method, path, header)).check(content);
}

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
    ['POST', '/replica/v1/generate', header.replace('l=7', 'l=8'), BODY],
    ['POST', '/replica/v1/generate', header.replace('d=', 'd=0').replace(/.,( s=)/, ',$1'), BODY],
    ['POST', '/replica/v1/generate', header.replace('v2', 'v1'), BODY],
    ['POST', '/replica/v1/generate', '', BODY],
    ['POST', '/replica/v1/generate', header.toUpperCase(), BODY],
  ];
  for (const call of wrong) {
    // Whoever had the header would have used it up.
    const other = createVerifier([NEW], clock.now);
    await expect(verify(other, ...call)).rejects.toMatchObject({ code: 'invalid_api_key' });
  }
  await verify(verifier, 'POST', '/replica/v1/generate', header, BODY);
});

test('a request that was seen is refused, and so is one from another hour', async () => {
  const clock = at(5_000_000);
  const signer = createSigner([NEW], clock.now);
  const verifier = createVerifier([NEW], clock.now);
  const header = await signer.sign('POST', '/x', BODY);
  await verify(verifier, 'POST', '/x', header, BODY);
  await expect(verify(verifier, 'POST', '/x', header, BODY)).rejects.toThrow('seen before');
  clock.pass(119_000);
  await expect(verify(verifier, 'POST', '/x', header, BODY)).rejects.toThrow('seen before');
  clock.pass(2_000);
  await expect(verify(verifier, 'POST', '/x', header, BODY)).rejects.toThrow('clocks');
  const early = at(clock.now() + 121_000);
  const future = await createSigner([NEW], early.now).sign('POST', '/x', BODY);
  await expect(verify(verifier, 'POST', '/x', future, BODY)).rejects.toThrow('clocks');
});

test('keys change without a pause', async () => {
  const clock = at(0);
  const both = createVerifier([NEW, OLD], clock.now);
  for (const keys of [[OLD], [OLD, NEW], [NEW, OLD], [NEW]]) {
    await verify(
      both,
      'GET',
      '/x',
      await createSigner(keys, clock.now).sign('GET', '/x', BODY),
      BODY,
    );
  }
  const last = createVerifier([NEW], clock.now);
  const header = await createSigner([OLD, NEW], clock.now).sign('GET', '/x', BODY);
  await expect(verify(last, 'GET', '/x', header, BODY)).rejects.toThrow('not valid here');
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
