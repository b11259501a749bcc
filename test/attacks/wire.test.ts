import { describe, expect, it } from 'vitest';
import { createApp } from '../../src/app.ts';
import { createSigner, SIGNATURE_HEADER } from '../../src/fleet/signing.ts';
import { createFakeEngineCompleter } from '../support/fake-engine-completer.ts';
import { FLEET_KEYS } from '../support/fleet-harness.ts';

const PATHS = ['generate', 'cancel', 'sessions'] as const;

/** A body without end, which tells how often it was asked for more. */
function endless(): { readonly body: ReadableStream<Uint8Array>; pulls(): number } {
  let pulls = 0;
  const body = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        pulls++;
        controller.enqueue(new Uint8Array(65_536).fill(7));
      },
    },
    { highWaterMark: 0 },
  );
  return { body, pulls: () => pulls };
}

function replica(): ReturnType<typeof createApp> {
  const { completer } = createFakeEngineCompleter();
  return createApp({ completer, fleetKeys: FLEET_KEYS });
}

async function send(
  path: string,
  signature: string | null,
): Promise<[status: number, pulls: number]> {
  const source = endless();
  const headers = signature === null ? {} : { [SIGNATURE_HEADER]: signature };
  const request = new Request(`http://replica/replica/v1/${path}`, {
    method: 'POST',
    headers,
    body: source.body,
    duplex: 'half',
  });
  const { status } = await replica().fetch(request);
  return [status, source.pulls()];
}

async function signatureOf(key: string, path: string, nowMs = Date.now()): Promise<string> {
  const signer = createSigner([key], () => nowMs);
  return signer.sign('POST', `/replica/v1/${path}`, new Uint8Array(100));
}

describe.each(PATHS)('of what is sent to a replica as %s without a fleet key', (path) => {
  it('nothing is read', async () => {
    const made = `v2 k=00000000, t=${Date.now()}, n=${'n'.repeat(20)}, l=16777215, d=${'0'.repeat(64)}, s=${'0'.repeat(64)}`;
    const signatures = [
      null,
      '',
      made,
      await signatureOf('a key that is of no fleet', path),
      await signatureOf(FLEET_KEYS[0] ?? '', 'status'),
      await signatureOf(FLEET_KEYS[0] ?? '', path, Date.now() - 3_600_000),
    ];
    for (const signature of signatures) expect(await send(path, signature)).toEqual([401, 0]);
  });
});

describe.each(['cancel', 'sessions'])('of what is sent as %s with one', (path) => {
  it('no more is read than was signed', async () => {
    const [status, pulls] = await send(path, await signatureOf(FLEET_KEYS[0] ?? '', path));
    expect([status, pulls]).toEqual([401, 1]);
  });
});
